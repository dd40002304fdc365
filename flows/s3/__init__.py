"""What is to know of S3 and of servers that speak like it.

::

    bucket     objects that come and go, and what the errors say
    uploads    what interrupted uploads have left, which obstore has no words for
    signing    requests that are signed for S3, for that
"""
