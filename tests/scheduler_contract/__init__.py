"""What every scheduler has to do, whatever runs the commands.

A scheduler joins by an entry in ``backends.BACKENDS``.
"""
