"""The input of a job on its way to whoever runs it: one tar that is made while it is sent."""

from collections.abc import Generator

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from api.files.downloads import requested_range
from api.files.pulled import PulledAnswer
from api.http.tagged import is_known
from api.services import Services
from api.transfers.granted import Transfer
from flows.transfers.tar_stream import TarStream

TAR = "application/x-tar"


async def input_of(transfer: Transfer, request: Request, services: Services) -> Response:
    """Return the answer, which can be that to a part of it, or that it is the same as before."""
    stream, tag = await services.on_disk(_stream, transfer)
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-store", "ETag": tag}
    if is_known(tag, request.headers):
        return Response(None, 304, headers)
    wanted = None
    if request.method == "GET" and request.headers.get("If-Range") in (None, tag):
        wanted = requested_range(request.headers.get("Range"), stream.size)
    if wanted is None:
        return _answer(stream, range(stream.size), 200, headers, services)
    if not wanted:
        detail = f"The input has {stream.size} bytes; the range is after its end."
        return JSONResponse({"detail": detail}, 416, {"Content-Range": f"bytes */{stream.size}"})
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{stream.size}"
    return _answer(stream, wanted, 206, headers, services)


def _stream(transfer: Transfer) -> tuple[TarStream, str]:
    _, inputs = transfer.offer.read()
    stream = TarStream(transfer.offer.job_dir, inputs)
    return stream, f'"{stream.tag}"'


def _answer(
    stream: TarStream, part: range, status: int, headers: dict[str, str], services: Services
) -> Response:
    headers["Content-Length"] = str(len(part))
    return PulledAnswer(_pieces(stream, part), services, headers=headers, media_type=TAR, status=status)


def _pieces(stream: TarStream, part: range) -> Generator[bytes, None, None]:
    yield from stream.blocks(part.start, part.stop)
