"""``bartender perform``: a process that takes runs of commands from work pools of Prefect's, and runs them.

It needs the Prefect server and a directory of its own. What it has taken is written down there before it asks
for it, so the next start under the same name knows what may be its own.
"""
