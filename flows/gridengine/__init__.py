"""What is to know of Grid Engine beyond ``flows.batch``, as pure functions.

::

    options   keys of the configuration, and the options of qsub that they become
    commands  qsub, qstat, qacct and qdel, and what they print
    rows      what that says of a job
"""
