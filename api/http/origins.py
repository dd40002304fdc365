"""From which pages browsers may change something with the visitor's cookie."""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import Request

_PORTS = {"http": ":80", "https": ":443"}


def is_trusted(request: Request, trusted: Collection[str]) -> bool:
    """Whether the page that sent this is one of ours or of a trusted origin, as ``https://host[:port]``.

    Browsers tell it by ``Origin``, which is "null" for what runs in a sandbox; to plain http they send no
    ``Sec-Fetch-Site``. A proxy may have taken TLS away, so the scheme of our own address is not compared.
    """
    origin = request.headers.get("Origin", "")
    if origin in trusted:
        return True
    parts = urlsplit(origin)
    if parts.scheme not in _PORTS or not parts.netloc:
        return False
    # The second as proxies tell it that ask for another host; a page elsewhere cannot send it.
    ours = {request.headers.get(name, "").lower() for name in ("Host", "X-Forwarded-Host")} - {""}
    port = _PORTS[parts.scheme]
    return parts.netloc.lower().removesuffix(port) in {host.removesuffix(port) for host in ours}
