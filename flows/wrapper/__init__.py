"""What runs a job's command where nothing of ours is: in a container or on a node that a backend has chosen.

::

    wrapper.sh  is run there: it unpacks the job's files, runs the command, packs what came of it
    script      makes it of that file, for one job
    verdicts    how the command ended, by what the wrapper has left
"""
