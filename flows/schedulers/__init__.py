"""Schedulers: what runs a job's command at a destination. Each module is a type, and named as that.

Its class ``Scheduler`` does what ``flows.destinations.scheduler`` says.
"""
