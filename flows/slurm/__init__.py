"""What is to know of Slurm, as pure functions: commands are made, and what they printed is read.

::

    references     how a job is named: to Slurm, and in the job's row
    options        keys of the configuration, and the options of sbatch that they become
    script         what runs at the cluster, and the command that submits it
    queries        squeue, sacct and the notes that scripts leave; scancel
    states         what Slurm's words say of a job, to us and to the visitor
    conclusions    whether a job has ended, how, and what is said of it meanwhile
    complaints     which errors pass by themselves, and which are the last word
    rest_messages  what is sent to slurmrestd, and what its answers say
    rest_v42, _v38 what the versions of its API spell in their own way
    rest_dialects  which of them a server speaks

And what uses that::

    scheduling       what all schedulers of Slurm have in common
    cluster          what that asks of a cluster
    by_commands      one that is reached by Slurm's commands
    by_rest          one that is reached by slurmrestd
    rest_queue       what its controller has of jobs, by small questions
    rest_connection  the way to slurmrestd, and its token
    guards           the notes of scripts, where they are on a disk of this machine
"""
