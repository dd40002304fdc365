"""What Alembic does for us, which is imported only where there is something for it to do."""

from pathlib import Path

from alembic.config import Config
from sqlalchemy import URL, Connection

from alembic import command
from flows.database.engines import open_engine

CONNECT_SECONDS = 10.0


async def upgrade(url: URL, scripts: Path) -> None:
    """Bring the schema to the newest revision."""

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    engine = open_engine(url, timeout=CONNECT_SECONDS)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()
