"""What is on this machine is never asked through a proxy, whatever the environment says of proxies."""

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from deployments import loopback

NOTHING = "http://127.0.0.1:9"  # nobody listens there
HERE = ["http://127.0.0.1:4200/api", "http://localhost:4200/api", "http://[::1]:4200/api"]
ELSEWHERE = "http://prefect.example.org:4200/api"

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "http_proxy": {"http_proxy": NOTHING},
    "in capitals": {"HTTP_PROXY": NOTHING, "HTTPS_PROXY": NOTHING},
    "all": {"ALL_PROXY": NOTHING, "https_proxy": NOTHING},
    "without a scheme": {"http_proxy": "127.0.0.1:9"},
    "with a password": {"http_proxy": "http://jane:p%40ss@127.0.0.1:9"},
    "socks": {"http_proxy": NOTHING, "ALL_PROXY": "socks5://127.0.0.1:9"},
    "socks of a desktop": {"http_proxy": NOTHING, "all_proxy": "socks://127.0.0.1:9/"},
    "no address": {"http_proxy": NOTHING, "ALL_PROXY": "http://proxy:port"},
    "other exceptions": {"http_proxy": NOTHING, "no_proxy": "example.com, .example.net"},
    "exceptions in capitals": {"http_proxy": NOTHING, "NO_PROXY": "example.com"},
    "no exceptions": {"http_proxy": NOTHING, "no_proxy": "", "NO_PROXY": "example.com"},
    "IPv6 in brackets": {"http_proxy": NOTHING, "no_proxy": "[::1],[::1]:4200"},
    "networks": {"http_proxy": NOTHING, "no_proxy": "10.0.0.0/8,fe80::/10,::1/128"},
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in ENVIRONMENTS[request.param].items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    yield ENVIRONMENTS[request.param]
    for name in set(os.environ) - set(before):
        del os.environ[name]


def proxied(client: httpx.AsyncClient, url: str) -> bool:
    return client._transport_for_url(httpx.URL(url)) is not client._transport


@pytest.mark.parametrize("environment", ENVIRONMENTS, indirect=True)
async def test_clients(environment: dict[str, str]) -> None:
    loopback.spare()
    async with httpx.AsyncClient() as client:
        assert not [url for url in HERE if proxied(client, url)]
        assert proxied(client, ELSEWHERE)
        # An empty one in lower case goes before the other, as Python reads them.
        excepted = environment.get("no_proxy", environment.get("NO_PROXY", ""))
        assert proxied(client, "http://example.com/") != ("example.com" in excepted)
    for url in HERE:
        assert get_proxy(parse_uri(url.replace("http", "ws", 1))) is None
        assert not proxied(PrefectClient(url)._client, url)
    assert get_proxy(parse_uri(ELSEWHERE.replace("http", "ws", 1))) is not None


@pytest.mark.parametrize("environment", ["http_proxy"], indirect=True)
async def test_another_address_of_this_machine(environment: dict[str, str]) -> None:
    loopback.spare(addressed := dict(environment) | {"PREFECT_API_URL": "http://127.0.1.1:4200/api"})
    assert "127.0.1.1" in addressed["no_proxy"].split(",")
    loopback.spare(addressed := dict(environment) | {"PREFECT_API_URL": ELSEWHERE})
    assert "prefect.example.org" not in addressed["no_proxy"]


def test_everything_excepted_stays_so() -> None:
    loopback.spare(environment := {"http_proxy": NOTHING, "no_proxy": "*"})
    assert environment == {"http_proxy": NOTHING, "no_proxy": "*", "NO_PROXY": "*"}


def test_it_can_be_done_again() -> None:
    loopback.spare(environment := {"no_proxy": "example.com,localhost"})
    before = dict(environment)
    loopback.spare(environment)
    assert environment == before
    assert before["no_proxy"] == "example.com,localhost,127.0.0.1,::1"


def test_the_operator_is_told(tmp_path: os.PathLike[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api", "--version"],
        env={**os.environ, "ALL_PROXY": "socks://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == (
        "bartender: environment: ALL_PROXY is not used: socks is no kind of proxy that is known here\n"
    )
