"""What the database was asked."""

from typing import Any

import pytest
import sqlalchemy as sa

from flows.database.pool import Pool


class Asked(list[sa.Executable]):
    """All statements of all pools from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fetch = Pool.fetch

        async def counted(pool: Pool, statement: sa.Executable, /, **values: Any) -> Any:
            self.append(statement)
            return await fetch(pool, statement, **values)

        monkeypatch.setattr(Pool, "fetch", counted)
