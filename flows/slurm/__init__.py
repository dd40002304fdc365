"""What is to know of Slurm beyond ``flows.batch``, as pure functions: questions are made, and answers read.

::

    options        keys of the configuration, and the options of sbatch that they become
    queries        squeue, sacct and scancel
    commands       a cluster that is spoken to by those
    states         what Slurm's words say of a job, to us and to the visitor
    complaints     which errors pass by themselves, and which are the last word
    rest_messages  what is sent to slurmrestd, and what its answers say
    rest_v42, _v38 what the versions of its API spell in their own way
    rest_dialects  which of them a server speaks

And what uses that::

    by_rest          a cluster that is reached by slurmrestd
    rest_queue       what its controller has of jobs, by small questions
    rest_connection  the way to slurmrestd, and its token
"""
