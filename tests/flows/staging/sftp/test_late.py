"""Requests that arrive late: their sender gave them up, and another attempt went on."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flows.errors import Unavailable
from flows.filesystems.sftp import Filesystem
from flows.staging import by_sftp, sending
from flows.staging.by_sftp import BySftp
from flows.staging.names import Names
from tests.flows.staging.sftp.remote import TOKEN


@pytest.mark.parametrize("sshd", ["sftp_only"], indirect=True)  # with a shell: ../test_scripts.py
async def test_a_draft_of_before_is_not_published_while_it_is_removed(
    filesystem: Filesystem, entry: Path, job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = await filesystem._far_side()
    assert isinstance(far, BySftp)
    late, now = Names(entry, TOKEN), Names(entry, TOKEN)
    await far.put(late, job_dir, sending.scan(job_dir))
    empty = by_sftp._emptied

    async def in_the_middle(*arguments: Any) -> None:
        await empty(*arguments)
        with suppress(Unavailable):
            await far.publish(late)

    monkeypatch.setattr(by_sftp, "_emptied", in_the_middle)
    await far.put(now, job_dir, sending.scan(job_dir))
    await far.publish(now)
    assert [path.name for path in (entry / TOKEN).iterdir()] == ["README.md"]
