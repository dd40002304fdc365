"""Which process of a test run gets what, and when.

The tests of a file stay together, and those that share a server do: one such server runs, not one in each
process, and it ends with the last of its tests. What takes longest is begun first, so that at the end no
process works alone.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SHARED: Mapping[tuple[str, str], str] = {
    ("tests/e2e/", "service"): "server",
    ("tests/e2e/", "workerless"): "workerless-server",
    ("tests/contract/", "service"): "contract",
    ("tests/flows/slurm/", "slurm_cluster"): "slurm",
    ("tests/services/", "slurm_cluster"): "slurm",
    ("tests/flows/s3/", "server"): "objects",
    ("tests/flows/s3/", "seaweedfs"): "objects",
    ("tests/flows/tes/", "tes_server"): "objects",
}
"""Fixtures that start much, where they are used, and the group of their tests."""

FIRST = ("workerless-server", "server", "slurm", "tests/chaos/", "tests/e2e/", "contract")
"""Groups and directories, those that take longest first."""


def group_of(item: pytest.Item) -> str | None:
    """Return the group of tests that an item belongs to, None for those of its file."""
    if not isinstance(item, pytest.Function):
        return None
    for (directory, fixture), group in SHARED.items():
        is_of_the_module = hasattr(item.module, fixture)  # which has a server of its own by that name
        if item.nodeid.startswith(directory) and fixture in item.fixturenames and not is_of_the_module:
            return group
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    groups = {item: group_of(item) for item in items}
    if told := getattr(config, "workerinput", {}).get(TOLD):
        # The process that distributes the tests collects none. All write the same.
        names = {item.nodeid: group for item, group in groups.items() if group is not None}
        draft = Path(f"{told}.{os.getpid()}")
        draft.write_text(json.dumps(names))
        draft.replace(told)

    def turn(item: pytest.Item) -> int:
        name = groups[item] or item.nodeid
        return next((n for n, first in enumerate(FIRST) if name.startswith(first)), len(FIRST))

    items.sort(key=turn)


class ByGroupOrFile(LoadScopeScheduling):
    """Distributes groups, and files where there is no group."""

    _groups: dict[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._groups is None:  # all processes have collected when this is asked first
            self._groups = json.loads(_told(self.config).read_text())
        return self._groups.get(nodeid) or nodeid.partition("::")[0]


TOLD = "groups"


def _told(config: pytest.Config) -> Path:
    directory: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # as xdist does
    return directory / "groups.json"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[TOLD] = str(_told(node.config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return ByGroupOrFile(config, log) if config.getvalue("dist") == "loadgroup" else None
