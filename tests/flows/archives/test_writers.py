"""What programs and libraries make is taken whole: names, contents, empty files and directories, modes."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from flows import archives
from tests.flows.archives.making import tree
from tests.flows.archives.refusing import LIMITS
from tests.flows.archives.writers import WRITERS, Writer
from tests.services.fixtures import skipped_where_missing

_NOISE = random.Random(1).randbytes(50_000)

FILES: dict[str, bytes] = {
    "README.md": b"hello\n",
    "data/x.txt": b"1",
    "data/deep/ünïcode and space 日本.txt": b"".join(b"%d\n" % number for number in range(20_000)),
    "data/far": _NOISE * 6,  # farther apart than what deflate sees
    "data/zeros": bytes(1_000_000),
    "empty": b"",
    "run.sh": b"#!/bin/sh\n",
    "-x": b"looks like an option",
}
LONG = "long/" + "/".join(["name" * 10] * 5)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.command.replace("\n", " ")[:60])
def test_is_taken_whole(tmp_path: Path, writer: Writer, pytestconfig: pytest.Config) -> None:
    directory = filled(tmp_path / "in", long_names=writer.long_names)
    expected = tree(directory)
    if not writer.empty_directories:
        del expected["void"]
    archive = tmp_path / "upload.archive"
    with skipped_where_missing(pytestconfig):
        writer.write(directory, archive)
    archives.check(archive, ["README.md", "second", "data/deep/ünïcode and space 日本.txt"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    found = tree(tmp_path / "job")
    assert found.keys() - expected.keys() == writer.adds
    assert {name: found[name] for name in expected} == expected
    if writer.modes:
        executable = {path.name for path in (tmp_path / "job").iterdir() if os.access(path, os.X_OK)}
        assert {"run.sh", "README.md", "empty"} & executable == {"run.sh"}


def filled(directory: Path, *, long_names: bool) -> Path:
    for name, data in {**FILES, **({LONG: b"x"} if long_names else {})}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    (directory / "run.sh").chmod(0o755)
    (directory / "second").hardlink_to(directory / "README.md")
    (directory / "void").mkdir()
    return directory


@pytest.mark.parametrize("seed", range(8))
def test_tar_finds_the_same(tmp_path: Path, seed: int) -> None:
    """After files were added, linked, changed and added again in any order."""
    chance = random.Random(seed)
    directory = tmp_path / "in"
    directory.mkdir()
    subprocess.run(["tar", "-cf", "../a.tar", "--files-from=/dev/null"], cwd=directory, check=True)
    for _ in range(12):
        changed = [change(directory, chance) for _ in range(chance.randint(1, 3))]
        options = chance.choice([["-r"], ["-r", "--format=pax"], ["-u"], ["-r", "--hard-dereference"]])
        subprocess.run(["tar", *options, "-f", "../a.tar", *changed], cwd=directory, check=True)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", "../a.tar"], cwd=tmp_path / "out", check=True)
    archives.check(tmp_path / "a.tar", [], LIMITS)
    archives.unpack(tmp_path / "a.tar", tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == tree(tmp_path / "out")


def change(directory: Path, chance: random.Random) -> str:
    """Change one file, or make another name for one; return its name."""
    path = directory / f"file{chance.randrange(6)}"
    others = [other for other in directory.iterdir() if other != path]
    if others and chance.random() < 0.4:
        path.unlink(missing_ok=True)
        path.hardlink_to(chance.choice(others))
    else:
        if chance.random() < 0.5:
            path.unlink(missing_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 1, 511, 512, 513, 5000])))
    return path.name
