"""Bodies of a few values: nobody, least of all without a login, has the server keep a large one."""

from collections.abc import AsyncIterator

import pytest

from api.http.small_bodies import LIMIT
from tests.api.conftest import Site


async def in_parts(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


@pytest.mark.parametrize("path", ["/api/job/1/name", "/api/transfer/claim"])
async def test_a_large_one_is_refused_before_all_of_it_is_kept(site: Site, path: str) -> None:
    client, large = await site.anonymous(), b'"' + b"x" * 20 * LIMIT + b'"'
    for content in (large, in_parts(large)):
        answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, str(LIMIT) in answer.json()["detail"]) == (413, True)
    small = await client.post(path, json={"token": "x" * 100})
    assert small.status_code in {401, 403, 422}
