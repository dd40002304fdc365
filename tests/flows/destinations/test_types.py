"""Types that a site adds, and what the operator reads where one cannot be used."""

import pkgutil
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from flows import filesystems, schedulers
from flows.configuration.config import Config, load
from flows.destinations.types import SCHEDULERS
from flows.errors import ConfigurationError

SCHEDULER = """
from typing import ClassVar
from pydantic import BaseModel, ConfigDict


class Scheduler:
    commands_are_here: ClassVar[bool] = True

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")

        queue: str = "short"

    def __init__(self, config, surroundings):
        self.config = config

    async def submit(self, submission): ...
    async def watch(self, scheduler_id): yield
    async def cancel(self, scheduler_id): ...
    async def forget(self, scheduler_id): ...
    async def check(self): ...
    async def close(self): ...
"""

FILESYSTEM = '''
from pydantic import BaseModel


class Filesystem:
    files_are_here = False

    class Config(BaseModel):
        """No keys."""

    def __init__(self, config, surroundings): ...
    async def stage_in(self, job_dir, token): ...
    async def stage_out(self, job_dir, token): ...
    async def remove(self, job_dir, token): ...
    async def check(self): ...
    async def close(self): ...
'''


def configured(
    directory: Path, scheduler: str = "{type: memory}", filesystem: str = "{type: local}"
) -> Config:
    path = directory / "config.yaml"
    path.write_text(
        "applications: {wc: {command_template: wc README.md}}\n"
        f"destinations: {{x: {{scheduler: {scheduler}, filesystem: {filesystem}}}}}"
    )
    return load(path)


def installed(directory: Path, monkeypatch: pytest.MonkeyPatch, package: str, entry_points: str) -> None:
    """Put a package where Python finds it, as an installer does."""
    (directory / package).mkdir(parents=True)
    (directory / package / "__init__.py").touch()
    (directory / package / "pbs.py").write_text(SCHEDULER)
    about = directory / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(textwrap.dedent(entry_points))
    monkeypatch.syspath_prepend(str(directory))


def ours(room: ModuleType, *others: str) -> str:
    """Return the names of a room's types, and others."""
    return ", ".join(sorted([*(module.name for module in pkgutil.iter_modules(room.__path__)), *others]))


def refusal(directory: Path, scheduler: str, filesystem: str = "{type: local}") -> str:
    with pytest.raises(ConfigurationError) as caught:
        configured(directory, scheduler, filesystem)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{directory / 'config.yaml'}: destinations.x.")
    return said


def test_from_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "types").mkdir()
    (tmp_path / "types/own.py").write_text(SCHEDULER + FILESYSTEM)
    both = "{type: types/own.py:Scheduler, queue: long}", "{type: types/own.py:Filesystem}"
    destination = configured(tmp_path, *both).destinations["x"]
    assert destination.scheduler.type_name == "types/own.py:Scheduler"
    assert destination.scheduler.config.model_dump() == {"queue": "long"}
    # One file is one module, however often it is named.
    assert destination.scheduler.implementation.__module__ == destination.filesystem.implementation.__module__
    again = configured(tmp_path, *both).destinations["x"]
    assert again.scheduler.implementation is destination.scheduler.implementation


def test_a_file_may_put_off_its_annotations(tmp_path: Path) -> None:
    dataclass = "\nfrom dataclasses import dataclass\n\n@dataclass\nclass Queue:\n    name: str\n"
    (tmp_path / "own.py").write_text("from __future__ import annotations\n" + SCHEDULER + dataclass)
    assert configured(tmp_path, "{type: own.py:Scheduler, queue: a}").destinations["x"].scheduler.config


def test_from_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = "[bartender.schedulers]\nquick = site_a.pbs:Scheduler\n"
    installed(tmp_path / "packages", monkeypatch, "site_a", named)
    by_place = configured(tmp_path, "{type: site_a.pbs:Scheduler}").destinations["x"].scheduler
    by_name = configured(tmp_path, "{type: quick, queue: q}").destinations["x"].scheduler
    assert by_name.implementation is by_place.implementation
    assert f"use one of {ours(schedulers, 'quick')}, or" in refusal(tmp_path, "{type: nope}")


def test_a_name_that_two_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(
        tmp_path / "packages",
        monkeypatch,
        "site_b",
        "[bartender.schedulers]\nmemory = site_b.pbs:Scheduler\n",
    )
    said = refusal(tmp_path, "{type: memory}")
    assert "is flows.schedulers.memory:Scheduler and site_b.pbs:Scheduler: use one of these" in said
    assert configured(tmp_path, "{type: 'site_b.pbs:Scheduler'}")
    assert configured(tmp_path, "{type: 'flows.schedulers.memory:Scheduler', slots: 2}")


def test_unknown_types(tmp_path: Path) -> None:
    said = refusal(tmp_path, "{type: nope}")
    assert f"scheduler has the unknown type 'nope': use one of {ours(schedulers)}, or" in said
    assert "module:Class or file.py:Class" in said
    said = refusal(tmp_path, "{type: memory}", "{type: nope}")
    assert f"filesystem has the unknown type 'nope': use one of {ours(filesystems)}, or" in said
    assert "must have a type" in refusal(tmp_path, "{slots: 1}")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no.such:Scheduler", "cannot be imported (No module named 'no')"),
        ("no.py:Scheduler", "No such file"),
        ("own.py:Other", "has no attribute 'Other'"),
        ("broken.py:Scheduler", "cannot be imported (division by zero)"),
        ("own.py:BaseModel", "lacks submit(), watch(), cancel(), forget(), check(), close()"),
        ("own.py:ClassVar", "lacks a class of that name"),
        ("builtins:int", "lacks submit()"),
    ],
)
def test_types_that_cannot_be_used(tmp_path: Path, kind: str, said: str) -> None:
    (tmp_path / "own.py").write_text(SCHEDULER)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    text = refusal(tmp_path, f"{{type: '{kind}'}}")
    assert f"scheduler has the type {kind!r}, which " in text
    assert said in text


@pytest.mark.parametrize(
    ("gone", "lacking"),
    [
        ("    async def cancel(self, scheduler_id): ...\n", "cancel()"),
        ("    commands_are_here: ClassVar[bool] = True\n", "commands_are_here = True or False"),
        ("self, config, surroundings", "__init__(self, config, surroundings)"),
        ("(BaseModel)", "Config, a pydantic model of its keys"),
    ],
)
def test_what_a_type_lacks_is_named(tmp_path: Path, gone: str, lacking: str) -> None:
    (tmp_path / "own.py").write_text(SCHEDULER.replace(gone, "self" if "self, config" in gone else ""))
    said = refusal(tmp_path, "{type: own.py:Scheduler}")
    assert f"which lacks {lacking}: add what flows.destinations.scheduler says" in said


def test_what_is_inherited_from_the_contract_is_lacking(tmp_path: Path) -> None:
    own = "from flows.destinations import scheduler\n" + SCHEDULER
    own = own.replace("class Scheduler:", "class Scheduler(scheduler.Scheduler):")
    (tmp_path / "own.py").write_text(own)
    assert configured(tmp_path, "{type: own.py:Scheduler}")
    (tmp_path / "less.py").write_text(own.replace("    async def check(self): ...\n", ""))
    assert "which lacks check(): " in refusal(tmp_path, "{type: less.py:Scheduler}")


def test_keys_that_it_refuses(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SCHEDULER)
    said = refusal(tmp_path, "{type: own.py:Scheduler, queue: [1], more: 2}")
    assert "destinations.x.scheduler.queue Input should be a valid string" in said
    assert "destinations.x.scheduler.more is not a known key: remove it" in said


def test_what_is_configured_is_made_by_its_own_class(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SCHEDULER)
    one = SCHEDULERS.configured({"type": "own.py:Scheduler", "queue": "a"}, tmp_path)
    assert SCHEDULERS.configured(one, Path("/elsewhere")) is one
    assert one.implementation.commands_are_here
