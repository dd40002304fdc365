"""A PostgreSQL that hosts of a network reach."""

from pathlib import Path

from sqlalchemy import URL

from deployments.serving.postgres import EmbeddedPostgres

_PORT = 5432


class ReachablePostgres:
    """Listens on an address, as one of an operator's own does; its settings of TCP are the defaults."""

    def __init__(self, directory: Path, address: str, **options: str) -> None:
        self._directory = directory
        self._address = address
        own = {"listen_addresses": address, "port": str(_PORT), "fsync": "off", **options}
        self.server = EmbeddedPostgres(directory, own)

    async def start(self) -> None:
        await self.server.start()
        rules = self._directory / "data" / "pg_hba.conf"
        if (rule := f"host all all {self._address}/24 scram-sha-256\n") not in rules.read_text():
            with rules.open("a") as file:
                file.write(rule)
            await self.server.stop()
            await self.server.start()

    async def stop(self) -> None:
        await self.server.stop()

    async def create_database(self, name: str) -> None:
        await self.server.create_database(name)

    def url(self, database: str) -> URL:
        """Return the address by the network."""
        return self.server.url(database).set(host=self._address, port=_PORT, query={})
