"""The machines that the destinations of this process share, each with as few connections as possible."""

from flows.hosts import Host, ThisMachine


class Connections:
    """Owned by the destinations, and closed with them."""

    def __init__(self) -> None:
        self.this_machine: Host = ThisMachine()

    async def close(self) -> None:
        """Close all connections. What runs on the other machines goes on."""
