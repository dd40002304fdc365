"""Moving jobs' directories to other machines and back.

::

    names      what there is beside a job's directory on the other machine
    listing    what is in a directory: of which kind, how large, changed when
    sending    this machine's side of stage in
    landing    this machine's side of stage out
    bridge     threads that wait for the event loop
    shell      the other machine, where it has a shell, tar and find
    plain      the other machine, where it speaks SFTP only
    failures   which of its errors are worth another try
"""
