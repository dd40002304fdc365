"""Outputs that come in: what is not taken, what was cut off, and who comes too late."""

import hashlib
import itertools
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.errors import InvalidUpload, StagingFailed, Unavailable
from flows.filesystems import http
from flows.filesystems.http import Filesystem
from flows.ssh.connections import Connections
from flows.transfers import arrivals, outputs
from flows.transfers.arrivals import Arrival, OffsetWrong
from flows.transfers.offers import Offer, TransferOver
from flows.transfers.sent_tar import Limits, TooMuchSent
from flows.transfers.tar_stream import TarStream
from tests.flows.archives.making import END, extended, header, padded, record, tree
from tests.flows.staging.sftp.remote import TOKEN
from tests.flows.transfers.playing import LIMITS, Pieces, arrive

GOOD = header(name="./good", size=3) + padded(b"abc")


class CutOff(Exception):
    pass


@pytest.fixture
def filesystem(tmp_path: Path) -> Filesystem:
    place = Place(tmp_path / "data", tmp_path / "jobs")
    return Filesystem(Filesystem.Config(), Surroundings(place, "far", Connections()))


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A directory of a job elsewhere, with outputs."""
    directory = tmp_path / "far"
    (directory / "deep").mkdir(parents=True)
    (directory / "big").write_bytes(os.urandom(3_000_000))
    (directory / "deep/file").write_text("in it")
    (directory / "empty").mkdir()
    (directory / "link").symlink_to("deep/file")
    (directory / "returncode").write_text("0")
    (directory / "zlast").write_bytes(os.urandom(2_000_000))
    return directory


def stream_of(directory: Path) -> TarStream:
    return TarStream(directory, outputs.scan(directory))


async def collected(offer: Offer, filesystem: Filesystem) -> dict[str, bytes | None]:
    await filesystem.stage_out(offer.job_dir, TOKEN)
    return tree(offer.job_dir)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header(name="../escaped", size=1) + padded(b"x"), "inside"),
        (header(name="/tmp/escaped", size=1) + padded(b"x"), "inside"),
        (header(name="a/../../escaped"), "inside"),
        (header(name="a//b"), "inside"),
        (extended(b"x", record("path", "../escaped")) + header(), "inside"),
        (header(name="dev", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "device"),
        (header(name="dev", type=tarfile.BLKTYPE), "device"),
        (header(name="hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "link"),
        (header(name="hard", type=tarfile.LNKTYPE, linkname="../1/README.md"), "link"),
        (
            header(name="way", type=tarfile.SYMTYPE, linkname="deep")
            + header(name="way/file", size=1)
            + padded(b"x"),
            "something else",
        ),
        (header(name="good/below", size=1) + padded(b"x"), "something else"),
        (header(name="good", type=tarfile.DIRTYPE), "something else"),
        (extended(b"L", b"n" * 256 + b"\0") + header(), "shorter"),
        (header(name="big", size=9_999_999) + bytes(512), "more than"),
        (b"".join(header(name=f"f{n}") for n in range(1001)), "more than 1000 files"),
        (header(name="short", size=600) + bytes(512), "too early"),
        (b"x" * 512, "damaged"),
    ],
)
def test_a_hostile_tar_is_refused_as_a_whole(offer: Offer, tmp_path: Path, content: bytes, said: str) -> None:
    before = tree(tmp_path)
    end = b"" if said == "too early" else END
    with pytest.raises(InvalidUpload, match=said):
        arrive(offer, iter([GOOD + content + end]))
    assert tree(tmp_path) == before


async def test_links_that_lead_out_and_pipes_are_left_away(
    offer: Offer, filesystem: Filesystem, caplog: pytest.LogCaptureFixture
) -> None:
    odd = (
        header(name="out", type=tarfile.SYMTYPE, linkname="/etc")
        + header(name="up", type=tarfile.SYMTYPE, linkname="../2")
        + header(name="pipe", type=tarfile.FIFOTYPE)
    )
    arrive(offer, iter([GOOD + odd + END]))
    assert await collected(offer, filesystem) == {"README.md": b"hello\n", "good": b"abc"}
    assert "3 links that lead out, or pipes, are left away" in caplog.text


async def test_a_link_is_what_it_says_and_nothing_more(
    offer: Offer, filesystem: Filesystem, tmp_path: Path
) -> None:
    more = "there\0l 700 0 0.0 0 0 e\0.\0l 700 0 0.0 0 0 e/out\0.."
    odd = extended(b"x", record("linkpath", more)) + header(name="link", type=tarfile.SYMTYPE)
    arrive(offer, iter([GOOD + odd + END]))
    before = {path.name for path in tmp_path.iterdir()}
    assert await collected(offer, filesystem) == {"README.md": b"hello\n", "good": b"abc"}
    assert {path.name for path in tmp_path.iterdir()} == before


async def test_what_other_tars_say_twice_and_by_hard_links(offer: Offer, filesystem: Filesystem) -> None:
    content = (
        header(name="./", type=tarfile.DIRTYPE)
        + GOOD
        + header(name="./good", size=2)
        + padded(b"de")
        + header(name="./same", type=tarfile.LNKTYPE, linkname="./good")
        + header(name="./good", type=tarfile.LNKTYPE, linkname="./good")
        + header(name="way", type=tarfile.SYMTYPE, linkname="good")
        + header(name="way", size=1)
        + padded(b"x")
    )
    arrive(offer, iter([content + END]))
    taken = await collected(offer, filesystem)
    assert taken == {"README.md": b"hello\n", "good": b"de", "same": b"de", "way": b"x"}


def test_limits_count_what_came_before_an_interruption(offer: Offer) -> None:
    limits = Limits(max_files=3, max_bytes=1000)
    with pytest.raises(CutOff):
        arrive(offer, cut([GOOD + header(name="b") + header(name="c")]), limits=limits)
    start = arrivals.progress(offer, 0).offset
    assert start == len(GOOD) + 1024
    with pytest.raises(TooMuchSent):
        arrive(offer, iter([header(name="d") + END]), limits=limits, start=start)


def test_a_file_that_was_cut_off_counts_once(offer: Offer, far: Path) -> None:
    stream, limits = stream_of(far), Limits(max_files=7, max_bytes=5_000_006)
    with pytest.raises(CutOff):
        arrive(offer, cut(list(stream.blocks(0, 4_000_000))), limits=limits)
    start = arrivals.progress(offer, 0).offset
    arrive(offer, stream.blocks(start), limits=limits, start=start)


def cut(blocks: list[bytes]) -> Iterator[bytes]:
    yield from blocks
    raise CutOff


@pytest.mark.parametrize(
    "end", [100, 700, 1_000_000, 3_002_000, 3_004_000, 4_000_000, 5_007_359], ids=lambda end: f"{end}"
)
def test_cut_off_anywhere_it_goes_on_after_the_last_whole_file(offer: Offer, far: Path, end: int) -> None:
    stream = stream_of(far)
    assert stream.size == 5_007_360
    with pytest.raises(CutOff):
        arrive(offer, cut(list(stream.blocks(0, end))))
    came = arrivals.progress(offer, 0)
    assert not came.complete
    assert end - 3_000_000 - 1024 < came.offset <= end
    prefix = hashlib.sha256(b"".join(stream.blocks(0, came.offset))).hexdigest()
    assert came.parts == (((came.offset, prefix),) if came.offset else ())
    arrive(offer, stream.blocks(came.offset), start=came.offset)
    done = arrivals.progress(offer, 0)
    assert (done.complete, done.offset) == (True, stream.size)


async def test_after_interruptions_all_is_there(offer: Offer, far: Path, filesystem: Filesystem) -> None:
    stream, start = stream_of(far), 0
    for end in (3_003_000, 3_004_500, stream.size - 1):
        with pytest.raises(CutOff):
            arrive(offer, cut(list(stream.blocks(start, end))), start=start)
        start = arrivals.progress(offer, 0).offset
    arrive(offer, stream.blocks(start), start=start)
    assert await collected(offer, filesystem) == {"README.md": b"hello\n", **tree(far)}
    assert (offer.job_dir / "link").is_symlink()


def test_going_on_elsewhere_than_where_it_ended_is_refused(offer: Offer, far: Path) -> None:
    stream = stream_of(far)
    with pytest.raises(CutOff):
        arrive(offer, cut(list(stream.blocks(0, 3_003_000))))
    with pytest.raises(OffsetWrong, match=str(arrivals.progress(offer, 0).offset)):
        arrive(offer, stream.blocks(512), start=512)


def test_what_has_come_but_did_not_land_needs_no_byte_again(offer: Offer, far: Path) -> None:
    stream = stream_of(far)
    arrival = Arrival(offer, 0, LIMITS, 0, 0)
    arrival.receive(Pieces(stream.blocks()))
    arrival.finish()  # and the process is killed
    came = arrivals.progress(offer, 0)
    assert (came.complete, came.offset) == (False, stream.size)
    arrive(offer, iter([]), start=came.offset)
    assert arrivals.progress(offer, 0).complete


def test_who_wakes_does_not_land(offer: Offer, far: Path) -> None:
    stream = stream_of(far)
    frozen = Arrival(offer, 0, LIMITS, 0, 0)
    frozen.receive(Pieces(stream.blocks()))
    arrive(offer, iter([GOOD + END]))
    with pytest.raises(Unavailable):
        frozen.finish()
    with pytest.raises(Unavailable):
        frozen.land()
    assert arrivals.progress(offer, 0).offset == len(GOOD + END)


def test_in_the_middle_of_a_file(offer: Offer, far: Path) -> None:
    stream = stream_of(far)
    blocks = stream.blocks()

    def content() -> Iterator[bytes]:
        yield from itertools.islice(blocks, 1)
        arrive(offer, iter([GOOD + END]))
        yield from blocks

    with pytest.raises(Unavailable):
        arrive(offer, content())
    assert arrivals.progress(offer, 0).offset == len(GOOD + END)


def test_who_had_the_job_before_does_not_land(offer: Offer, far: Path) -> None:
    arrival = Arrival(offer, 0, LIMITS, 0, 0)
    arrival.receive(Pieces(stream_of(far).blocks()))
    offer.give_anew(0)
    with pytest.raises(Unavailable):
        arrival.finish()
    assert list(offer.landed.iterdir()) == []


def test_after_the_end_nothing_lands(offer: Offer, far: Path, job_dir: Path) -> None:
    arrival = Arrival(offer, 0, LIMITS, 0, 0)
    arrival.receive(Pieces(stream_of(far).blocks()))
    arrival.finish()
    offer.withdraw()
    with pytest.raises(TransferOver):
        arrival.land()
    with pytest.raises(TransferOver):
        Arrival(offer, 0, LIMITS, 0, 0)
    assert [path.name for path in job_dir.parent.iterdir()] == ["1"]


def test_the_disk_keeps_room_for_others(offer: Offer) -> None:
    whole = os.statvfs(offer.job_dir)
    announced = whole.f_blocks * whole.f_frsize
    for min_free, size in ((1 << 60, 0), (0, announced)):
        arrival = Arrival(offer, 0, LIMITS, min_free, 0)
        with pytest.raises(OSError, match="No space"):
            arrival.receive(Pieces(iter([GOOD + END])), announced=size)
        # Nor does what has come take the room that others wait for.
        assert list((offer.of_turn(0) / "drafts").iterdir()) == []


async def test_of_two_that_came_the_last_counts(offer: Offer, filesystem: Filesystem) -> None:
    arrive(offer, iter([GOOD + END]))
    arrive(offer, iter([header(name="good", size=1) + padded(b"x") + END]))
    for _ in range(2):
        assert (await collected(offer, filesystem))["good"] == b"x"


async def test_a_job_that_has_sent_nothing_is_not_waited_for_for_ever(
    offer: Offer, filesystem: Filesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "GRACE", 0.0)
    with pytest.raises(StagingFailed, match="has not sent its outputs"):
        await filesystem.stage_out(offer.job_dir, TOKEN)


async def test_what_is_on_its_way_is_waited_for(
    offer: Offer, far: Path, filesystem: Filesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "GRACE", 0.0)
    with pytest.raises(CutOff):
        arrive(offer, cut(list(stream_of(far).blocks(0, 3_003_000))))
    with pytest.raises(Unavailable, match="on their way"):
        await filesystem.stage_out(offer.job_dir, TOKEN)
    [attempt] = (offer.of_turn(0) / "drafts").iterdir()
    os.utime(attempt, (0, 0))  # its sender is gone for long
    with pytest.raises(StagingFailed):
        await filesystem.stage_out(offer.job_dir, TOKEN)


async def test_what_is_gone_after_it_was_fetched_is_no_error(offer: Offer, filesystem: Filesystem) -> None:
    arrive(offer, iter([header(name="returncode", size=1) + padded(b"0") + END]))
    await filesystem.stage_out(offer.job_dir, TOKEN)
    await filesystem.remove(offer.job_dir, TOKEN)
    await filesystem.stage_out(offer.job_dir, TOKEN)


async def test_outputs_of_nothing_are_outputs(offer: Offer, filesystem: Filesystem) -> None:
    arrive(offer, iter([bytes(10240)]))
    assert await collected(offer, filesystem) == {"README.md": b"hello\n"}


def test_an_attempt_shows_that_it_goes_on_within_a_file(
    offer: Offer, far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_SEEN_EVERY", 0.0)
    [*blocks] = stream_of(far).blocks(0, 2_500_000)

    def content() -> Iterator[bytes]:
        yield blocks[0]
        [attempt] = (offer.of_turn(0) / "drafts").iterdir()
        os.utime(attempt, (0, 0))
        yield blocks[1]
        assert attempt.stat().st_mtime > 0
        raise CutOff

    with pytest.raises(CutOff):
        arrive(offer, content())
    assert arrivals.is_moving(offer)


def test_progress_is_noted_while_it_comes(offer: Offer, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is killed cannot note anything."""
    monkeypatch.setattr(arrivals, "_NOTED_EVERY", 1)
    noted = []

    def content() -> Iterator[bytes]:
        for block in stream_of(far).blocks():
            yield block
            [attempt] = (offer.of_turn(0) / "drafts").iterdir()
            if (note := attempt / "arrived").exists():
                noted.append(json.loads(note.read_bytes().partition(b"\n")[0])["parts"][-1][0])

    arrive(offer, content())
    assert noted
    assert noted == sorted(noted)
