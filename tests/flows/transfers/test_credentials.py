"""Credentials and pilot keys: each opens what it was made for, and nothing else."""

import time
from pathlib import Path

import pytest

from flows.transfers.credentials import CredentialInvalid, Grant, TransferKey
from tests.flows.staging.sftp.remote import TOKEN


def grant(*, seconds: int = 60) -> Grant:
    return Grant(job_id=7, token=TOKEN, destination="far off, ü", turn=2, expires=int(time.time()) + seconds)


@pytest.fixture
def key(tmp_path: Path) -> TransferKey:
    return TransferKey.of(tmp_path / "data/transfer_key")


def test_a_credential_says_what_it_was_made_for(key: TransferKey) -> None:
    assert key.grant(key.credential(made := grant())) == made


def test_all_processes_have_the_key_that_the_first_one_made(key: TransferKey, tmp_path: Path) -> None:
    path = tmp_path / "data/transfer_key"
    assert TransferKey.of(path).grant(key.credential(made := grant())) == made
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_character_of_a_credential_counts(key: TransferKey) -> None:
    credential = key.credential(grant())
    for at in range(len(credential)):
        for other in ("0", "A", "."):
            changed = credential[:at] + other + credential[at + 1 :]
            if changed != credential:
                with pytest.raises(CredentialInvalid):
                    key.grant(changed)


@pytest.mark.parametrize("forged", ["", ".", "é" * 43, "1.0.9999999999." + TOKEN + ".ZmFy." + "A" * 43])
def test_what_was_made_up_opens_nothing(key: TransferKey, forged: str) -> None:
    with pytest.raises(CredentialInvalid):
        key.grant(forged)
    with pytest.raises(CredentialInvalid):
        key.destination_of(forged)


def test_another_services_credential_opens_nothing(key: TransferKey, tmp_path: Path) -> None:
    other = TransferKey.of(tmp_path / "other/transfer_key")
    with pytest.raises(CredentialInvalid):
        key.grant(other.credential(grant()))
    with pytest.raises(CredentialInvalid):
        key.destination_of(other.pilot_key("far"))


def test_its_time_comes_to_an_end(key: TransferKey) -> None:
    with pytest.raises(CredentialInvalid, match="over"):
        key.grant(key.credential(grant(seconds=-1)))


def test_a_pilot_key_is_that_of_its_destination_and_no_credential(key: TransferKey) -> None:
    pilot_key = key.pilot_key("far off, ü")
    assert key.destination_of(pilot_key) == "far off, ü"
    with pytest.raises(CredentialInvalid):
        key.grant(pilot_key)
    with pytest.raises(CredentialInvalid):
        key.destination_of(key.credential(grant()))
