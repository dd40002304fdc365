"""Pilots: processes that run commands wherever they can reach the Prefect server.

A job's command is a flow run of the deployment ``run-command/<work pool>``. ``orders`` is what the run says,
``words`` what its states say. The scheduler makes the runs and reads their states; a pilot, which is
``deployments.pilot``, takes them. Both talk to Prefect by ``rest``: a pilot imports nothing of Prefect's, and
so starts in a third of the time, with half of the memory.

Who takes a run does so by Prefect's transition from Scheduled to Pending, which one of all can make. Its
state carries the claim, which is new for each taking; whoever finds another one there is not meant any more.
"""
