"""Machines that vanish: a connection to one says nothing of it unless it is asked to.

TCP alone waits for ever for one that owes an answer, and sends for a quarter of an hour what none
acknowledges. What was given up meanwhile is still carried out when the way is there again: a time-out ends
the waiting only.
"""

import socket
import sys

IDLE, INTERVAL, PROBES = 10, 5, 3
"""Seconds of silence before the other machine is asked whether it is there, seconds between questions, and
how many of them may stay without an answer."""

SECONDS = 25.0
"""After which a machine that does not answer is given up."""


def _options(seconds: float) -> list[tuple[int, int, int]]:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    if sys.platform == "linux":
        # The questions alone are not enough: none is asked while something is not acknowledged.
        options += [
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000)),
        ]
    return options


OPTIONS = _options(SECONDS)
"""Of a socket: what ``notice`` sets."""


def notice(connection: socket.socket, seconds: float = SECONDS) -> None:
    """Have the connection break when the other machine is gone; what it has not taken by then is dropped.

    Those that a listening socket accepts have what it has.
    """
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        for option in _options(seconds):
            connection.setsockopt(*option)
