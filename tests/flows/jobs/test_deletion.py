import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from flows.disk.trees import remove_tree

ORDINARY = 12345


def test_what_its_owner_may_not_read_or_write() -> None:
    """Root may do everything, so an ordinary user tries it."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if os.getuid() == 0:
                    os.setgid(ORDINARY)
                    os.setuid(ORDINARY)
                _make_and_remove(Path(place))
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert {path.name for path in Path(place).iterdir()} == {"outside"}
        assert (Path(place) / "outside/file").read_text() == "content"


def _make_and_remove(place: Path) -> None:
    job, outside = place / "job", place / "outside"
    for path in (job / "unreadable/deep", job / "unwritable/deep", outside):
        path.mkdir(parents=True)
        (path / "file").write_text("content")
    (job / "link").symlink_to(outside)
    (job / "unwritable/link").symlink_to(outside)
    (job / "unreadable").chmod(0)
    (job / "unwritable").chmod(0o500)
    remove_tree(job)


def test_while_somebody_writes_there(tmp_path: Path) -> None:
    (tmp_path / "job/deep").mkdir(parents=True)
    writing = threading.Event()

    def write() -> None:
        for number in range(300):
            with suppress(FileNotFoundError):
                (tmp_path / f"job/deep/{number}").touch()
            writing.set()

    writer = threading.Thread(target=write)
    writer.start()
    writing.wait()
    remove_tree(tmp_path / "job")
    writer.join()
    assert not (tmp_path / "job").exists()
