"""Files of jobs that run elsewhere, for whoever runs them: fetched and sent back by HTTP.

::

    credentials   who may fetch and send the files of one job, and who is a pilot
    offers        what is offered of a job, and to whom it was given
    tar_stream    a tar that is made while it is sent, from anywhere in it
    sent_tar      what a tar may hold that somebody has sent
    arrivals      outputs on their way in, until all have come
    client        the far side: what a pilot calls
    service       the far side: how we are asked
    packed        a job as one tar each way, through a place that holds objects
    outputs       what of a directory there is to be sent back
"""
