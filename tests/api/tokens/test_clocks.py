"""Tokens of issuers whose clocks are not ours. A wrong clock shows nowhere but in what the answer tells."""

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.api.conftest import Keys, Site

# What a token says of its times, as seconds from now; and what the answer says, None where it is taken.
TIMES: dict[str, tuple[dict[str, float], str | None]] = {
    "a little ahead": ({"iat": 5}, None),
    "a little ahead, in fractions": ({"iat": 5.5, "exp": 60.7}, None),
    "ahead": ({"iat": 45}, r"from the future: its issuer's clock is 4\d seconds ahead of this server's"),
    "ahead, by nbf alone": ({"nbf": 45}, r"from the future: its issuer's clock is 4\d seconds ahead"),
    "ahead, by both": ({"iat": 200, "nbf": 190}, "its issuer's clock is 3 minutes ahead"),
    "ahead, in another time zone": ({"iat": 7200, "exp": 10800}, "its issuer's clock is 2 hours ahead"),
    "meant for later": ({"iat": 0, "nbf": 7200}, "not valid yet: its claim 'nbf' says in 2 hours"),
    "in milliseconds": ({"iat": 1.7e12, "exp": 1.8e12}, "may be in milliseconds"),
    "just over": ({"exp": -5}, None),
    "over": ({"exp": -45}, r"is over: it has expired 4\d seconds ago by this server's clock; get a new one"),
    # Made just now by a clock that goes after: only the time tells that.
    "over when it was made": ({"iat": -3600, "exp": -3000}, "expired 50 minutes ago"),
    "over for long": ({"iat": -864000, "exp": -432000}, "expired 5 days ago"),
}


def claims(**times: Any) -> dict[str, Any]:
    now = time.time()
    return {"sub": "jane", "iss": "x", "exp": now + 600} | {
        name: now + ahead for name, ahead in times.items()
    }


async def asked(site: Site, payload: str) -> httpx.Response:
    client = await site.anonymous()
    token = jwt.PyJWS().encode(payload.encode(), site.keys.private.read_bytes(), "RS256")
    return await client.get("/api/whoami", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("case", TIMES)
async def test_times(site: Site, case: str) -> None:
    times, told = TIMES[case]
    answer = await asked(site, json.dumps(claims(**times)))
    assert answer.status_code == (200 if told is None else 401)
    if told is not None:
        assert re.search(told, answer.json()["detail"]), answer.text


@pytest.mark.parametrize(
    "times",
    [
        {"iat": 10**400},
        {"iat": "9" * 30},
        {"nbf": 10**400, "iat": 0},
        {"nbf": "9" * 30},
        {"exp": "5"},
        {"exp": -(10**400)},
        {"iat": 9e18, "nbf": []},
        {"iat": 9e18, "nbf": "soon"},
    ],
    ids=lambda times: str(times)[:30],
)
async def test_strange_times_are_no_mistake_of_ours(site: Site, times: dict[str, Any]) -> None:
    answer = await asked(site, json.dumps(claims() | times))
    assert answer.status_code == 401
    assert len(answer.json()["detail"]) < 200


async def test_only_who_signs_is_told(site: Site, tmp_path: Path) -> None:
    token = jwt.encode(claims(iat=3600), Keys(tmp_path).private.read_bytes(), "RS256")
    client = await site.anonymous()
    answer = await client.get("/api/whoami", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["detail"]) == (401, "The token is not valid.")
