"""Uploads that were interrupted: their parts stay, unseen and paid for, until somebody aborts them."""

import functools
import html
import logging
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import httpx

from flows.errors import Unavailable
from flows.s3 import signing

if TYPE_CHECKING:
    from blocks import S3Credentials

logger = logging.getLogger(__name__)

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MOST = 1000

_UPLOAD = re.compile(r"<Upload>.*?</Upload>", re.DOTALL)
_BEGUN = re.compile(r"<Initiated>(\d[\dT:.+-]*Z?)</Initiated>")
_KEY, _ID = re.compile(r"<Key>(.*?)</Key>", re.DOTALL), re.compile(r"<UploadId>(.*?)</UploadId>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Upload:
    """One that nobody has completed. ``begun`` is in s since 1970, by the server's clock."""

    key: str
    upload_id: str
    begun: float


async def abort(credentials: "S3Credentials", bucket: str, prefix: str) -> None:
    """Abort those whose key begins so; raises Unavailable. A server that lists none has none for us."""
    for upload in await under_way(credentials, bucket, prefix):
        async with _client(credentials) as client:
            address = signing.address(credentials, bucket, upload.key)
            await _ask(client, credentials, "DELETE", address, {"uploadId": upload.upload_id})


async def under_way(credentials: "S3Credentials", bucket: str, prefix: str) -> list[Upload]:
    """Return those whose key begins so, the first thousand at least. Raises Unavailable."""
    parameters = {"uploads": "", "prefix": prefix, "max-uploads": str(_MOST)}
    async with _client(credentials) as client:
        text = await _ask(client, credentials, "GET", signing.address(credentials, bucket), parameters)
    return [found for found in parsed(text) if found.key.startswith(prefix)]


def parsed(text: str) -> list[Upload]:
    """Return the uploads in an answer; one whose begin is not told begins now."""
    found = []
    for upload in _UPLOAD.findall(text):
        key, upload_id, begun = (pattern.search(upload) for pattern in (_KEY, _ID, _BEGUN))
        if key and upload_id:
            when = time.time() if begun is None else datetime.fromisoformat(begun[1]).timestamp()
            found.append(Upload(html.unescape(key[1]), html.unescape(upload_id[1]), when))
    return found


def _client(credentials: "S3Credentials") -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=_TIMEOUT, verify=_trust(credentials))


async def _ask(
    client: httpx.AsyncClient,
    credentials: "S3Credentials",
    method: str,
    url: str,
    parameters: Mapping[str, str],
) -> str:
    headers = signing.headers(credentials, method, url, parameters)
    try:
        answer = await client.request(method, f"{url}?{signing.query(parameters)}", headers=headers)
    except (httpx.HTTPError, OSError) as error:
        raise Unavailable(f"The object store cannot be reached ({error or type(error).__name__}).") from error
    if answer.status_code in {404, 405, 501}:
        return ""  # it is gone by now, or the server keeps no parts
    if answer.status_code == httpx.codes.FORBIDDEN:
        _tell_of_refusal(url)
        return ""
    if answer.is_error:
        raise Unavailable(f"The object store does not abort uploads (HTTP status {answer.status_code}).")
    return answer.text


@functools.cache
def _tell_of_refusal(url: str) -> None:
    """Say it once of each bucket: no job has to wait for that."""
    bucket = "/".join(url.split("/")[:4])
    logger.warning(
        "%s: the keys may not list or abort multipart uploads; parts of interrupted ones stay until the "
        "bucket's own rules remove them",
        bucket,
    )


def _trust(credentials: "S3Credentials") -> ssl.SSLContext | bool:
    if credentials.certificates is None:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=credentials.certificates)
    return context
