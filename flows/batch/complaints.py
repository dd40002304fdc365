"""What commands of batch systems complain of."""

import re

from flows.destinations.host import Completed
from flows.errors import Unavailable


def sentence(completed: Completed) -> str:
    """Return what a command complained of, on one line."""
    lines = [line.strip() for line in completed.stderr.splitlines() if line.strip()]
    said = [re.sub(r"^(\w+: )?(error|fatal): ", "", line) for line in lines if not line.startswith("Try ")]
    return "; ".join(dict.fromkeys(said))[:400] or f"exit status {completed.status}"


def no_answer(name: str, said: str) -> Unavailable:
    """Return the error of a question to a batch system of which this was said in place of an answer."""
    return Unavailable(f"{name} does not answer ({said}).")
