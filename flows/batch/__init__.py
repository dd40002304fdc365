"""What all batch systems have in common, those that are spoken to by commands and others.

::

    references   how a job is named: to the batch system, and in the job's row
    script       what runs at the cluster, and the command that submits it once
    notes        what the script leaves beside the job's directory, read and written by commands
    guards       the same on a disk of this machine
    rows         what a batch system has of a job
    conclusions  whether a job has ended, how, and what is said of it meanwhile
    scheduling   the scheduler, whatever batch system it asks
    cluster      what it asks of one
    by_commands  one that is spoken to by commands, and what those have to be
"""
