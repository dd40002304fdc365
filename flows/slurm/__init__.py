"""What is to know of Slurm, as pure functions: commands are made, and what they printed is read.

::

    references   how a job is named: to Slurm, and in the job's row
    options      keys of the configuration, and the options of sbatch that they become
    script       what runs at the cluster, and the command that submits it
    queries      squeue, sacct and the notes that scripts leave; scancel
    states       what Slurm's words say of a job, to us and to the visitor
    complaints   which errors pass by themselves, and which are the last word
    doubts       since when something is not as it should be
"""
