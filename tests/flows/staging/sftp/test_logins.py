"""The filesystem sftp where logins do more than log in."""

from pathlib import Path

import pytest

from flows.destinations.filesystem import Storing
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import FILESYSTEMS
from flows.disk.places import Place
from flows.ssh.connections import Connections
from tests.flows.staging.sftp.remote import TOKEN
from tests.services.logins import READ_AT_LOGIN, login
from tests.services.sshd import SshServer


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", r"printf '\033]0;login1\007'; printf Welcome >&2"),
        ("bash", "export CDPATH=.:$HOME TAR_OPTIONS=--verbose POSIXLY_CORRECT=1"),
        ("csh", ""),
        ("tcsh", "printf Welcome"),
        ("zsh", "echo Welcome"),
        ("fish", "echo Welcome"),
    ],
)
async def test_there_and_back(
    ssh_server: SshServer,
    shells: None,
    entry: Path,
    job_dir: Path,
    tmp_path: Path,
    shell: str,
    line: str,
) -> None:
    """Also where SFTP is no use, because it is begun by a shell that greets."""
    files = {READ_AT_LOGIN[shell]: f"{line}\n"} if line else {}
    connections = Connections()
    with (
        login(ssh_server.state.account, shell, files),
        ssh_server.another("greeting", "", "/usr/lib/openssh/sftp-server") as sshd,
    ):
        keys = {"type": "sftp", "ssh_config": ssh_server.pinned(sshd), "entry": str(entry)}
        place = Place(tmp_path / "data", tmp_path / "jobs")
        filesystem = FILESYSTEMS.configured(keys, Path()).make(Surroundings(place, "far", connections))
        await filesystem.check()
        assert isinstance(filesystem, Storing)
        assert await filesystem.stored() == []
        remote = await filesystem.stage_in(job_dir, TOKEN)
        (remote / "result").write_text("42")
        assert [(one.token, one.changed > 1e9) for one in await filesystem.stored()] == [(TOKEN, True)]
        await filesystem.stage_out(job_dir, TOKEN)
        await filesystem.remove(job_dir, TOKEN)
        await filesystem.close()
        await connections.close()
    assert {path.name for path in job_dir.iterdir()} == {"README.md", "result"}
    assert list(entry.iterdir()) == []
