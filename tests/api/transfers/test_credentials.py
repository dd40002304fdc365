"""What opens the routes of transfers, and what does not."""

import time
import uuid
from dataclasses import replace

import httpx
import pytest

from flows.jobs.job import State
from flows.transfers.client import TransferRefused, claim, fetch_input, release
from tests.api.conftest import Keys
from tests.api.transfers.conftest import FarSite

ROUTES = [("GET", "input"), ("HEAD", "input"), ("GET", "output"), ("PUT", "output")]
EMPTY_TAR = bytes(10240)


async def refused(
    http: httpx.AsyncClient, path: str, headers: dict[str, str], status: int, words: str = ""
) -> None:
    """Each of the routes answers so, in one sentence."""
    for method, route in ROUTES:
        content = EMPTY_TAR if method == "PUT" else None
        answer = await http.request(method, f"{path}/{route}", headers=headers, content=content)
        assert answer.status_code == status, (method, route, answer.text)
        if method != "HEAD":
            assert words in answer.json()["detail"]


async def test_without_a_credential_of_ours(far_site: FarSite, http: httpx.AsyncClient, keys: Keys) -> None:
    job = await far_site.job({"README.md": b"hello"})
    good = job.credential().secret
    await refused(http, job.path, {}, 401, "send it as Authorization: Bearer")
    forged = good[:-1] + ("A" if good[-1] != "A" else "B")
    for words in (forged, keys.token(), far_site.key.pilot_key("far"), "x"):
        await refused(http, job.path, {"Authorization": f"Bearer {words}"}, 401)
    assert (await http.get(f"{job.path}/input", params={"token": good})).status_code == 401
    assert (
        await http.get(f"{job.path}/input", headers={"Cookie": f"bartenderToken={good}"})
    ).status_code == 401


async def test_a_credential_opens_nothing_else(far_site: FarSite, http: httpx.AsyncClient) -> None:
    one, other = await far_site.job({"a": b"1"}), await far_site.job({"b": b"2"})
    await refused(http, other.path, one.headers(), 403, "another job")
    assert (await http.get(f"{far_site.url}/api/job/{one.job.id}", headers=one.headers())).status_code == 401
    assert (await http.get(f"{far_site.url}/api/whoami", headers=one.headers())).status_code == 401


async def test_a_credential_whose_time_is_over(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({})
    grant = replace(far_site.key.grant(job.credential().secret), expires=int(time.time()) - 1)
    await refused(
        http, job.path, {"Authorization": f"Bearer {far_site.key.credential(grant)}"}, 401, "is over"
    )


async def test_a_token_of_another_job_with_this_number(far_site: FarSite, http: httpx.AsyncClient) -> None:
    """As one from before the database was made anew."""
    job = await far_site.job({})
    grant = replace(far_site.key.grant(job.credential().secret), token=str(uuid.uuid4()))
    await refused(http, job.path, {"Authorization": f"Bearer {far_site.key.credential(grant)}"}, 401)


async def test_nothing_is_opened_after_the_end(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({"README.md": b"hello"})
    headers = job.headers()
    await far_site.end(job.job)
    await refused(http, job.path, headers, 410, "has ended")
    with pytest.raises(TransferRefused) as error:
        await claim(far_site.url, far_site.key.pilot_key("far"), job.token, "pilot")
    assert error.value.status == 410
    await job.filesystem.remove(job.offer.job_dir, job.token)
    await refused(http, job.path, headers, 410, "has ended")


async def test_nothing_is_opened_of_a_deleted_job(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({})
    await far_site.store.request_deletion(job.job.id)
    await refused(http, job.path, job.headers(), 410)


async def test_nor_of_one_that_was_given_to_another(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({})
    headers = job.headers()
    job.offer.give_anew(0)
    await refused(http, job.path, headers, 409, "given to another")


async def test_a_claim(far_site: FarSite) -> None:
    job = await far_site.job({"README.md": b"hello"})
    key = far_site.key.pilot_key("far")
    first = await claim(far_site.url, key, job.token, "pilot 1")
    assert first.job_id == job.job.id
    assert first.expires > time.time() + 86_400
    assert first.secret not in repr(first)
    again = await claim(far_site.url, key, job.token, "pilot 1")
    assert far_site.key.grant(again.secret).turn == far_site.key.grant(first.secret).turn == 0
    with pytest.raises(TransferRefused) as error:
        await claim(far_site.url, key, job.token, "pilot 2")
    assert error.value.status == 409
    job.offer.give_anew(0)
    with pytest.raises(TransferRefused) as error:
        await claim(far_site.url, key, job.token, "pilot 1")
    assert error.value.status == 409
    anew = await claim(far_site.url, key, job.token, "pilot 2", 1)
    assert far_site.key.grant(anew.secret).turn == 1
    with pytest.raises(TransferRefused) as error:
        await fetch_input(far_site.url, first, job.offer.job_dir / "nowhere")
    assert error.value.status == 409


async def test_a_job_that_is_given_back(far_site: FarSite) -> None:
    job, key = await far_site.job({}), far_site.key.pilot_key("far")
    await claim(far_site.url, key, job.token, "pilot 1")
    other = far_site.key.pilot_key("other")
    for shown, claimant, status in ((key, "pilot 2", 409), (other, "pilot 1", 403)):
        with pytest.raises(TransferRefused) as error:
            await release(far_site.url, shown, job.token, claimant, 0)
        assert error.value.status == status
    await release(far_site.url, key, job.token, "pilot 1", 0)
    assert (await claim(far_site.url, key, job.token, "pilot 2", 1)).job_id == job.job.id


@pytest.mark.parametrize(
    ("key_of", "job_of", "status"),
    [("other", "far", 403), ("near", "near", 403), ("gone", "far", 403), (None, "far", 401)],
)
async def test_a_claim_that_is_refused(
    far_site: FarSite, key_of: str | None, job_of: str, status: int
) -> None:
    job = await far_site.job({}, job_of)
    key = "made up" if key_of is None else far_site.key.pilot_key(key_of)
    with pytest.raises(TransferRefused) as error:
        await claim(far_site.url, key, job.token, "pilot")
    assert error.value.status == status
    assert job.offer.claimed_by() is None


async def test_claims_that_make_no_sense(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({})
    headers = {"Authorization": f"Bearer {far_site.key.pilot_key('far')}"}
    url = f"{far_site.url}/api/transfer/claim"
    for body, status in (
        ({"token": str(uuid.uuid4()), "claimant": "pilot"}, 404),
        ({"token": "../../etc", "claimant": "pilot"}, 422),
        ({"token": job.token, "claimant": ""}, 422),
        ({"token": job.token, "claimant": "a\nb"}, 422),
        ({"token": job.token, "claimant": "x" * 201}, 422),
    ):
        assert (await http.post(url, json=body, headers=headers)).status_code == status
    assert (await http.post(url, json={"token": job.token, "claimant": "p"})).status_code == 401


async def test_no_secret_is_in_the_log_or_in_the_visitors_document(
    far_site: FarSite, http: httpx.AsyncClient
) -> None:
    job = await far_site.job({"README.md": b"hello"})
    credential = await claim(far_site.url, far_site.key.pilot_key("far"), job.token, "pilot")
    await http.get(f"{job.path}/input", headers={"Authorization": f"Bearer {credential.secret}"})
    await refused(http, job.path, {"Authorization": f"Bearer {credential.secret}x"}, 401)
    log = far_site.log.read_text()
    assert f"/api/transfer/{job.job.id}/input" in log
    for secret in (credential.secret, far_site.key.pilot_key("far"), far_site.place.transfer_key.read_text()):
        assert secret not in log
    assert "transfer" not in (await http.get(f"{far_site.url}/api/openapi.json")).text


async def test_while_it_is_under_way_in_any_state(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({})
    for state in (State.QUEUED, State.RUNNING, State.STAGING_OUT):
        await far_site.store.advance(job.job.id, state)
        assert (await http.get(f"{job.path}/input", headers=job.headers())).status_code == 200
