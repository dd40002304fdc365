"""A token is checked once, and never taken for longer than it would be."""

import asyncio
import time
from typing import Any

import jwt
import pytest

from api.tokens import known
from api.tokens.keys import PemKey, TokenKey
from api.tokens.known import Finding, KnownTokens
from flows.jobs.users import User
from tests.api.conftest import Keys, Site
from tests.api.tokens.provider import rsa_key
from tests.waiting import LONG_ENOUGH

KEY = TokenKey("RS256", rsa_key().public_key())
NOW = 1_000_000.0
JANE = User("jane")


def finding(since: float = NOW, until: int = int(NOW) + 60) -> Finding:
    return Finding(user=JANE, key=KEY, kid=None, since=since, until=until)


@pytest.mark.parametrize(
    ("key", "now", "is_taken"),
    [
        (KEY, NOW, True),
        (KEY, NOW + 59, True),
        (KEY, NOW + 60, False),
        (KEY, NOW - 1, False),  # by a clock that was set back it may be from the future
        (TokenKey("RS256", KEY.key), NOW, False),  # the keys were fetched anew: this may not be the same
        (TokenKey("ES256", KEY.key), NOW, False),
    ],
)
def test_as_long_as_it_holds(key: TokenKey, now: float, is_taken: bool) -> None:
    tokens = KnownTokens()
    tokens.remember("token", finding())
    assert tokens.find("token", PemKey(key), now) == (JANE if is_taken else None)
    assert tokens.find("tokem", PemKey(KEY), NOW) is None
    assert "token" not in repr(vars(tokens)).replace("TokenKey", "")


def test_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MOST", 3)
    tokens = KnownTokens()
    for name in "abc":
        tokens.remember(name, finding())
    assert tokens.find("a", PemKey(KEY), NOW) is JANE
    tokens.remember("d", finding())
    assert [name for name in "abcd" if tokens.find(name, PemKey(KEY), NOW)] == ["a", "c", "d"]


async def test_a_token_is_checked_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = 0
    decode = jwt.decode

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal checked
        checked += 1
        return decode(*arguments, **options)

    monkeypatch.setattr(jwt, "decode", counted)
    client = await site.client()
    for _ in range(3):
        assert (await client.get("/api/whoami")).status_code == 200
    assert checked == 1


async def test_a_token_that_was_taken_ends(site: Site, keys: Keys) -> None:
    client = await site.anonymous()

    async def is_taken(token: str) -> bool:
        answer = await client.get("/api/whoami", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code == 200

    for seconds in (1, 5, 25):  # as many as this machine needs to be in time at all
        # Ten more are given, for clocks that differ.
        claims = {"sub": "jane", "iss": "x", "exp": time.time() - 10 + seconds}
        token = jwt.encode(claims, keys.private.read_bytes(), "RS256")
        if taken := await is_taken(token):
            break
    assert taken
    async with asyncio.timeout(LONG_ENOUGH):
        while await is_taken(token):
            await asyncio.sleep(0.1)
