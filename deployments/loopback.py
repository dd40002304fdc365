"""Proxies of the environment are for other machines: what is on this one is never asked through them.

Machines behind a proxy often have ``http_proxy`` for all their users, without ``no_proxy``. All HTTP clients
of ours, of Prefect's and of the libraries between heed these variables, so they are put right once, where a
process of ours begins, for it and for those that it starts.
"""

import importlib.util
import ipaddress
import os
from collections.abc import Iterable, Iterator, MutableMapping
from urllib.parse import urlsplit

HOSTS = ("localhost", "127.0.0.1", "::1")
EXCEPTIONS = "no_proxy"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def spare(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Take this machine out of what is asked through proxies; return what the operator has to know.

    Proxies that Python's clients cannot use are taken out of the environment: with one of them, httpx makes
    no client at all, not even for an address that needs none.
    """
    complaints = []
    for name in [name for name in environment if name.lower() in _PROXIES]:
        if why := _why_unusable(environment[name]):
            complaints.append(f"{name} is not used: {why}")
            del environment[name]
    # As Python reads them: in lower case it counts, where there is one.
    excepted = environment.get(EXCEPTIONS, environment.get(EXCEPTIONS.upper(), ""))
    if excepted.strip() != "*":  # which holds only where it is alone
        hosts = [*_readable(excepted.split(",")), *HOSTS, *_own_address(environment)]
        excepted = ",".join(dict.fromkeys(hosts))
    environment[EXCEPTIONS] = environment[EXCEPTIONS.upper()] = excepted
    return complaints


def _why_unusable(proxy: str) -> str | None:
    address = urlsplit(proxy if "://" in proxy or not proxy else f"http://{proxy}")
    try:
        _ = address.port
    except ValueError:
        return "it is not an address"
    if address.scheme in {"socks5", "socks5h"}:
        packages = ("socksio", "python_socks")  # of httpx, of websockets
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        return f"for {address.scheme} the package {missing[0]} is needed" if missing else None
    if address.scheme not in {"", "http", "https"}:
        return f"{address.scheme} is no kind of proxy that is known here"
    return None


def _readable(exceptions: Iterable[str]) -> Iterator[str]:
    """Yield them without what httpx cannot read: it then makes no client at all."""
    for exception in map(str.strip, exceptions):
        address = exception.replace("[", "").replace("]", "")
        try:
            network = ipaddress.ip_network(address, strict=False)
        except ValueError:
            if exception and "[" not in exception:
                yield exception
        else:
            if network.version == 4 or network.num_addresses == 1:
                yield address.removesuffix("/128")


def _own_address(environment: MutableMapping[str, str]) -> Iterator[str]:
    """Yield the host of the Prefect server when it is another address of this machine's loopback."""
    try:
        host = urlsplit(environment.get("PREFECT_API_URL", "")).hostname or ""
        if ipaddress.ip_address(host).is_loopback:
            yield host
    except ValueError:
        return
