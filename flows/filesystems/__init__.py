"""Filesystems: how a job's files get to a destination and back. Each module is a type, and named as that.

Its class ``Filesystem`` does what ``flows.destinations.filesystem`` says.
"""
