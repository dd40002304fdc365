"""Requests to S3, signed by version 4 of Amazon's signatures.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from blocks import S3Credentials

_NOTHING = hashlib.sha256(b"").hexdigest()


def address(credentials: "S3Credentials", bucket: str, key: str = "") -> str:
    """Return the address of an object, or of the bucket."""
    base = urlsplit(credentials.endpoint or f"https://s3.{credentials.region}.amazonaws.com")
    host, path = base.netloc, base.path
    if credentials.path_style:
        path = f"{path}/{bucket}"
    elif credentials.endpoint is None:
        host = f"{bucket}.{host}"
    return f"{base.scheme}://{host}{path}/{quote(key, safe='/~')}".removesuffix("/" if not key else "")


def query(parameters: Mapping[str, str]) -> str:
    """Return parameters as they are signed and sent."""
    return "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(parameters.items()))


def headers(
    credentials: "S3Credentials",
    method: str,
    url: str,
    parameters: Mapping[str, str],
    now: datetime | None = None,
) -> dict[str, str]:
    """Return the headers of a request without a body."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    signed = {"host": parts.netloc, "x-amz-content-sha256": _NOTHING, "x-amz-date": moment}
    if credentials.session_token is not None:
        signed["x-amz-security-token"] = credentials.session_token.get_secret_value()
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    request = "\n".join([method, parts.path or "/", query(parameters), lines, names, _NOTHING])
    scope = f"{moment[:8]}/{credentials.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_access_key.get_secret_value()}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    return {**signed, "authorization": authorization}
