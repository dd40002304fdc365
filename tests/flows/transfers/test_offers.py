"""Who has a job, turn after turn, and what becomes of those who had it."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.disk import private_files
from flows.errors import StagingFailed
from flows.staging import sending
from flows.staging.listing import Listing
from flows.transfers.credentials import TransferKey
from flows.transfers.offers import GivenToAnother, Offer, Terms, TransferOver
from tests.flows.staging.sftp.remote import TOKEN
from tests.flows.transfers.playing import arrive

KEY = TransferKey(secrets.token_bytes())
EMPTY_TAR = bytes(10240)


def test_what_is_offered_stays_as_it_is(offer: Offer, job_dir: Path) -> None:
    before = offer.read()
    (job_dir / "README.md").write_text("HELLO, hello\n")
    offer.make(sending.scan(job_dir), Terms(destination="other", lifetime=1))
    assert offer.read() == before


def test_the_first_who_claims_a_job_has_it(offer: Offer) -> None:
    assert offer.claimed_by() is None
    for _ in range(2):
        offer.claim("first", 0)
    with pytest.raises(GivenToAnother):
        offer.claim("second", 0)
    assert offer.claimed_by() == "first"


def test_given_anew_it_is_the_next_ones_alone(offer: Offer) -> None:
    offer.claim("first", 0)
    arrive(offer, iter([EMPTY_TAR]))
    credential, _ = offer.credential(KEY, 0)
    offer.give_anew(0)
    offer.give_anew(0)  # repeated after a crash: it is another's turn by now
    with pytest.raises(GivenToAnother):
        offer.claim("first", 0)  # it was cut off, and is the first to come back
    late, _ = offer.credential(KEY, 0)
    offer.claim("second", 1)
    assert list(offer.landed.iterdir()) == []
    for before in (credential, late):
        with pytest.raises(GivenToAnother):
            offer.check_turn(KEY.grant(before).turn)
    for claimant, turn in (("first", 0), ("first", 1), ("second", 2)):
        with pytest.raises(GivenToAnother):
            offer.claim(claimant, turn)


def test_a_turn_that_ends_during_a_claim_is_not_the_end_of_the_job(
    offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = private_files.kept

    def late(path: Path, content: Callable[[], str]) -> str:
        offer.give_anew(0)
        return make(path, content)

    monkeypatch.setattr(private_files, "kept", late)
    with pytest.raises(GivenToAnother):
        offer.claim("first", 0)
    assert offer.claimed_by() is None


def test_who_does_not_begin_gives_the_next_turn_to_others(offer: Offer) -> None:
    offer.claim("first", 0)
    with pytest.raises(GivenToAnother):
        offer.release("second", 0)
    for _ in range(2):
        offer.release("first", 0)
    offer.claim("second", 1)
    offer.release("first", 0)  # repeated after a crash
    assert (offer.turn, offer.claimed_by()) == (1, "second")


def test_turns_that_were_never_begun_are_over_too(offer: Offer) -> None:
    """As when a pilot was lost after it had told Prefect of the next turn, and before it told us."""
    offer.claim("first", 0)
    offer.give_anew(1)
    assert offer.turn == 2
    with pytest.raises(GivenToAnother):
        offer.claim("first", 0)
    offer.claim("second", 2)


def test_what_is_withdrawn_is_over(offer: Offer, job_dir: Path) -> None:
    offer.claim("first", 0)
    for _ in range(2):
        offer.withdraw()
    for ask in (offer.read, lambda: offer.turn, lambda: offer.claim("first", 0), lambda: offer.check_turn(0)):
        with pytest.raises(TransferOver):
            ask()
    assert [path.name for path in job_dir.parent.iterdir()] == ["1"]


def test_a_job_that_comes_for_its_files_itself_gets_an_address_and_a_credential(offer: Offer) -> None:
    access = offer.access(KEY)
    assert access.url == "http://here/api/transfer/1"
    grant = KEY.grant(access.credential)
    assert (grant.job_id, grant.token, grant.destination, grant.turn) == (1, TOKEN, "far", 0)


def test_without_an_address_of_ours_that_is_the_operators_to_mend(job_dir: Path) -> None:
    inputs: Listing = {}
    (offer := Offer(job_dir, TOKEN)).make(inputs, Terms(destination="far", lifetime=60))
    with pytest.raises(StagingFailed, match="api_url"):
        offer.access(KEY)
