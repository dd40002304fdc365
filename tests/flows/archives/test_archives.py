"""What holds for archives of all formats."""

import errno
import os
import random
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import archives
from flows.archives import compression, contents
from flows.errors import InvalidUpload
from tests.flows.archives.making import COMPRESSORS, FORMATS, make_tar, make_zip, tree
from tests.flows.archives.refusing import LIMITS, limits, refused, refused_by_unpack, write

FILES: dict[str, bytes] = {
    "README.md": b"hello",
    "data/x": b"1",
    "data/deep/ünïcode and space": random.Random(1).randbytes(700_000),
    "empty": b"",
    "c/" + "/".join(["long" * 20] * 8): b"longer than a tar header",
}


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(directory: Path, form: str, *names: str) -> Path:
    return write(directory, FORMATS[form]([(name, b"") for name in names]))


def test_unpacks_files_and_directories(tmp_path: Path, form: str) -> None:
    archive = write(tmp_path, FORMATS[form]([("void/", b""), *FILES.items()]))
    archives.check(archive, ["README.md", "data/x"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    found = tree(tmp_path / "job")
    assert {name: data for name, data in found.items() if data is not None} == FILES
    assert found["void"] is None


@pytest.mark.parametrize("method", [0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_zip(tmp_path: Path, method: int) -> None:
    archive = write(tmp_path, make_zip(FILES.items(), method))
    archives.check(archive, ["README.md"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert {name: data for name, data in tree(tmp_path / "job").items() if data is not None} == FILES


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_kinds_of_tar(tmp_path: Path, kind: int) -> None:
    files = {name: data for name, data in FILES.items() if kind != tarfile.USTAR_FORMAT or len(name) < 200}
    archive = write(tmp_path, make_tar(files.items(), kind))
    archives.check(archive, ["README.md"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert {name: data for name, data in tree(tmp_path / "job").items() if data is not None} == files


@pytest.mark.parametrize(
    "command",
    [
        ["zip", "-qr", "-", "."],
        ["tar", "-cf", "-", "."],
        ["tar", "--format=posix", "-czf", "-", "."],
        ["tar", "-cjf", "-", "."],
        ["tar", "-cJf", "-", "."],
        ["tar", "--zstd", "-cf", "-", "."],
    ],
)
def test_archives_of_the_usual_programs(tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    made = subprocess.run(command, cwd=tmp_path / "in", capture_output=True, check=True)
    archive = write(tmp_path, made.stdout)
    archives.check(archive, ["README.md", "data/x"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == tree(tmp_path / "in")


def test_unpacking_again_begins_anew(tmp_path: Path, form: str) -> None:
    archive = make(tmp_path, form, "a")
    (tmp_path / "job").mkdir()
    (tmp_path / "job/half").touch()
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert list(tree(tmp_path / "job")) == ["a"]


def test_names_of_outputs_give_way(tmp_path: Path, form: str) -> None:
    archive = make(tmp_path, form, "stdout.txt/x", "./returncode", "a", "STDERR.txt", "b/stderr.txt")
    archives.check(archive, [], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert list(tree(tmp_path / "job")) == ["STDERR.txt", "a", "b", "b/stderr.txt"]


def test_needed_files_are_named(tmp_path: Path, form: str) -> None:
    archive = make(tmp_path, form, "b", "dir/", "A")
    with pytest.raises(InvalidUpload, match=r"lacks a, c/d, dir;"):
        archives.check(archive, ["a", "b", "c/d", "dir"], LIMITS)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a/..", "a\\b", "\\\\host\\x"])
def test_names_that_lead_out_are_refused(tmp_path: Path, form: str, name: str) -> None:
    refused(make(tmp_path, form, "ok", name), "relative names")


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "a\x7f", "\x85"])
def test_control_characters_are_refused(tmp_path: Path, form: str, name: str) -> None:
    refused(make(tmp_path, form, "ok", name), "control characters")


def test_names_may_have_all_other_characters(tmp_path: Path, form: str) -> None:
    names = ["a\u00a0b", "\U0001f600", " ", "-rf", "$(x)", "c:", "...", "~"]
    archive = make(tmp_path, form, *names)
    archives.check(archive, [], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert set(tree(tmp_path / "job")) == set(names)


@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, "/".join(["x" * 200] * 16)])
def test_long_names_are_refused(tmp_path: Path, form: str, name: str) -> None:
    refused(make(tmp_path, form, name), "at most 255 bytes")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "A"], "upper and lower case"),
        (["straße", "STRASSE"], "upper and lower case"),
        (["\u00e9", "e\u0301"], "upper and lower case"),
        (["d/a", "D/b"], "upper and lower case"),
        (["d/", "D/"], "upper and lower case"),
        (["a", "a/b"], "for a file and for a directory"),
        (["a/b", "a"], "for a file and for a directory"),
        (["a/", "a"], "for a file and for a directory"),
    ],
)
def test_names_that_clash_are_refused(tmp_path: Path, form: str, names: list[str], words: str) -> None:
    refused(make(tmp_path, form, *names), words)


def test_a_directory_may_be_there_twice(tmp_path: Path) -> None:
    archive = make(tmp_path, "tar", "./", "a/", "a/b", "a/")
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert list(tree(tmp_path / "job")) == ["a", "a/b"]


def test_number_of_entries(tmp_path: Path, form: str) -> None:
    archive = make(tmp_path, form, *(f"f{number}" for number in range(11)))
    refused(archive, "at most 10 are", limits(max_entries=10))
    archives.check(archive, [], limits(max_entries=11))


def test_depth(tmp_path: Path, form: str) -> None:
    archive = make(tmp_path, form, "/".join("abcdef"))
    refused(archive, "at most 5 levels", limits(max_depth=5))
    archives.unpack(archive, tmp_path / "job", limits(max_depth=6))


def test_unpacked_size(tmp_path: Path, form: str) -> None:
    archive = write(tmp_path, FORMATS[form]([("a", b"x" * 600), ("b", b"x" * 600)]))
    refused(archive, "at most 1199 bytes", limits(max_unpacked_bytes=1199))
    archives.unpack(archive, tmp_path / "job", limits(max_unpacked_bytes=1200))


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "tar"])
def test_bombs(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path, FORMATS[form]([("a", bytes(2_000_000))]))
    archives.check(archive, [], LIMITS)  # small things may be well compressed
    monkeypatch.setattr(contents, "RATIO_FROM", 1_000_000)
    refused(archive, "more than 200 times", LIMITS)


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.zst"])
def test_inputs_may_be_well_compressed(tmp_path: Path, form: str) -> None:
    """A mask of a density map is nearly all zeros."""
    archive = write(tmp_path, FORMATS[form]([("README.md", b"x"), ("mask.mrc", bytes(64 << 20))]))
    assert archive.stat().st_size * LIMITS.max_ratio < 64 << 20
    archives.check(archive, ["mask.mrc"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert (tmp_path / "job/mask.mrc").stat().st_size == 64 << 20


def test_the_ratio_counts_from_a_gibibyte_on() -> None:
    members = contents.Contents(LIMITS, archive_size=1000)
    members.add("a", is_dir=False, size=1 << 30)
    with pytest.raises(InvalidUpload, match="more than 200 times"):
        members.add("b", is_dir=False, size=1)
    members = contents.Contents(LIMITS, archive_size=10_000_000)
    members.add("a", is_dir=False, size=2_000_000_000)
    with pytest.raises(InvalidUpload, match="more than 200 times"):
        members.add("b", is_dir=False, size=1)


def test_permissions(tmp_path: Path) -> None:
    for form in ("zip", "tar"):
        path = tmp_path / form
        if form == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name, mode in [("run", 0o104755), ("open", 0o100666), ("dir/", 0o40777)]:
                    member = zipfile.ZipInfo(name)
                    member.external_attr = mode << 16
                    archive.writestr(member, b"")
        else:
            with tarfile.open(path, "w") as tar:
                for name, mode in [("run", 0o4755), ("open", 0o666), ("dir", 0o1777)]:
                    info = tarfile.TarInfo(name)
                    info.mode, info.uid = mode, 1000
                    info.type = tarfile.DIRTYPE if name == "dir" else tarfile.REGTYPE
                    tar.addfile(info)
        archives.unpack(path, tmp_path / "job", LIMITS)
        modes = {entry.name: entry.stat().st_mode & 0o7777 for entry in (tmp_path / "job").iterdir()}
        assert modes == {"run": 0o700, "open": 0o600, "dir": 0o700}
        assert (tmp_path / "job").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "job/run").stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an archive",
        b"x" * 2000,
        b"PK\x03\x04" + b"\0" * 100,
        b"PK\x05\x06",
        *(compress(b"") for compress in COMPRESSORS.values()),
        *(compress(b"no tar in here" * 100) for compress in COMPRESSORS.values()),
        *(compress(b"x" * 10_000)[:20] for compress in COMPRESSORS.values()),
    ],
    ids=lambda content: f"{len(content)} bytes",  # not the bytes: gzip writes the time into them
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(write(tmp_path, content), "not an archive|damaged|ends too early")


def test_every_truncation_is_refused(tmp_path: Path, form: str) -> None:
    content = FORMATS[form]([("a", b"1234567" * 200), ("b", b"")])
    if form == "tar":
        content = content.rstrip(b"\0")
    for size in {*range(0, len(content), 1 if form != "tar" else 50), len(content) - 1}:
        with pytest.raises(InvalidUpload):
            archives.check(write(tmp_path, content[:size]), [], LIMITS)


def test_random_damage_is_no_surprise(tmp_path: Path, form: str) -> None:
    """Whatever is damaged is refused or unpacked, and nothing else happens."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    content = FORMATS[form]([("a", b"1234567" * 20), ("d/b", b"x")])
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])
        path = write(tmp_path, bytes(damaged))
        try:
            archives.check(path, [], LIMITS)
            archives.unpack(path, tmp_path / "job", LIMITS)
        except InvalidUpload:
            assert not (tmp_path / "job").exists()
        except BaseException:
            print("seed", seed)
            raise
        else:
            shutil.rmtree(tmp_path / "job")


# Tar has no checksum of contents, and Zstandard's is not there by default.
@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_damaged_content_is_found_while_unpacking(tmp_path: Path, form: str) -> None:
    content = random.Random(2).randbytes(10_000)
    archive = bytearray(FORMATS[form]([("a", content)]))
    archive[5_000] ^= 0xFF
    refused_by_unpack(write(tmp_path, bytes(archive)), "damaged")


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_floor_of_free_space(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path, FORMATS[form]([("a", bytes(1000))]))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=2999))
    with pytest.raises(OSError, match="No space left") as caught:
        archives.check(archive, [], limits(min_free_bytes=2000))
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        archives.unpack(archive, tmp_path / "job", limits(min_free_bytes=3000))
    assert not (tmp_path / "job").exists()
    archives.check(archive, [], limits(min_free_bytes=1999))
    archives.unpack(archive, tmp_path / "job", limits(min_free_bytes=1999))


def test_disk_that_fills_up_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path, make_tar([("a", bytes(3_000_000))]))
    free = iter([10_000, 5_000, 999, 0, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=next(free)))
    monkeypatch.setattr(archives.writing, "_CHECK_EVERY", 1_000_000)
    with pytest.raises(OSError, match="No space left"):
        archives.unpack(archive, tmp_path / "job", limits(min_free_bytes=1000))
    assert next(free) == 0  # stopped there and then
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("form", [form for form in FORMATS if form.startswith("tar.")])
def test_looking_through_takes_no_longer_than_it_may(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write(tmp_path, FORMATS[form]([("first", b"1"), ("big", bytes(3_000_000)), ("last", b"")]))
    clock = iter(range(1000))
    monkeypatch.setattr(compression, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(archives, "time", SimpleNamespace(monotonic=lambda: 0))
    monkeypatch.setattr(archives, "CHECK_SECONDS", 3)
    archives.check(archive, ["first"], LIMITS)
    assert next(clock) == 5
    clock = iter(range(1000))
    with pytest.raises(InvalidUpload, match="put last at its beginning"):
        archives.check(archive, ["first", "last"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
