"""Moving jobs' directories to other machines and back.

::

    names      what there is beside a job's directory on the other machine
    listing    what is in a directory: of which kind, how large, changed when
    sending    this machine's side of stage in
    landing    this machine's side of stage out; draft: where files are until all have come
    bridge     threads that wait for the event loop
    far_side   what the other machine has to do
    by_shell   the other machine, where it has a shell, tar and find
    scripts    what is run there, and the bytes that come and go
    by_sftp    the other machine, where it speaks SFTP only
    failures   which of its errors are worth another try; sftp_failures: those that SFTP raises
"""
