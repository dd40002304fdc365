"""All that can be done with jobs, in one object: what is submitted, run, ended and kept in the same test."""

from flows.jobs.end_requests import EndRequests
from flows.jobs.kept import KeptJobs
from flows.jobs.outbox import Outbox
from flows.jobs.store import JobStore
from flows.jobs.told import ToldJobs


class AllJobs(ToldJobs, JobStore, Outbox, EndRequests, KeptJobs):
    """No part of the product has so much in its hands."""
