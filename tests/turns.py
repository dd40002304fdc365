"""Which process of a test run gets what, and when.

The tests of a file stay together, and those that share a server do: one such server runs, not one in each
process, and it ends with the last of its tests. What takes longest is begun first, so that at the end no
process works alone.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SHARED: Mapping[tuple[str, str], str] = {
    ("tests/e2e/", "service"): "server",
    ("tests/e2e/", "workerless"): "workerless-server",
    ("tests/contract/", "service"): "contract",
    ("tests/flows/slurm/", "slurm_cluster"): "slurm",
    ("tests/services/", "slurm_cluster"): "slurm",
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


@pytest.hookimpl(tryfirst=True)  # xdist writes what it finds into the node ids
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups = {item: group_of(item) for item in items}
    for item, group in groups.items():
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))

    def turn(item: pytest.Item) -> int:
        name = groups[item] or item.nodeid
        return next((n for n, first in enumerate(FIRST) if name.startswith(first)), len(FIRST))

    items.sort(key=turn)


def scope_of(node: str) -> str:
    """Return the group that xdist has put at the end of a node id, the file of one without."""
    path, _, rest = node.partition("::")
    _, _, after_parameters = rest.rpartition("]")
    return after_parameters.partition("@")[2] or path


class ByGroupOrFile(LoadScopeScheduling):
    """As ``--dist loadgroup``, and files where there is no group."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return ByGroupOrFile(config, log) if config.getvalue("dist") == "loadgroup" else None
