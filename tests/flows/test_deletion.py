import os
import tempfile
from pathlib import Path

from flows.deletion import remove_tree

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
