"""All that can be done with jobs, in one object: what is submitted, run, ended and kept in the same test."""

from flows.jobs.end_requests import EndRequests
from flows.jobs.kept import KeptJobs
from flows.jobs.outbox import Outbox
from flows.jobs.owned import OwnedJobs
from flows.jobs.store import JobStore


class AllJobs(OwnedJobs, JobStore, Outbox, EndRequests, KeptJobs):
    """No part of the product has so much in its hands."""
