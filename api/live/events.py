"""A job as server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from api.live.following import Output, Written, follow
from api.live.growing import Position
from api.live.streams import Stream
from api.schemas import JobModelDTO, Problem
from api.services import Services
from api.watching import Watched
from flows.disk.places import STDERR, STDOUT
from flows.jobs.job import Job

FILES = {STDOUT: "stdout", STDERR: "stderr"}
"""Output files and the names of their events."""

END = "end"
"""The id of the last event: who comes back with it has seen everything."""

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that nobody on the way gives the connection up."""

_COMMENT = b":\n\n"
_ID = re.compile(r"([0-9a-f]{1,16})\.([0-9]{1,18})-([0-9a-f]{1,16})\.([0-9]{1,18})")


def written_id(positions: Mapping[str, Position]) -> str:
    """Return the id of an event after which the files were read up to there."""
    return "-".join(f"{positions[name].inode:x}.{positions[name].offset}" for name in FILES)


def read_id(last_event_id: str | None) -> dict[str, Position] | None:
    """Return the positions in an id, or None when it is none of ours."""
    match = _ID.fullmatch(last_event_id or "")
    if match is None:
        return None
    found = [Position(int(match[i], 16), int(match[i + 1])) for i in (1, 3)]
    return dict(zip(FILES, found, strict=True))


class JobEvents(Stream):
    """All that happens to the job from now on."""

    media_type = "text/event-stream"

    def __init__(
        self, watched: Watched, job: Job, positions: Mapping[str, Position], services: Services
    ) -> None:
        super().__init__(watched, services)
        self._job = job
        self._output = Output(job, positions, services, whole=True)

    async def pieces(self) -> AsyncGenerator[bytes]:
        clock = asyncio.get_running_loop().time
        spoke = clock()
        ended = False
        async with aclosing(follow(self._watched, self._output, self._services.config)) as news:
            async for item in news:
                if item is not None:
                    yield self._event(item)
                    spoke = clock()
                    ended = isinstance(item, Job) and item.state.is_final
                elif clock() - spoke > KEEP_ALIVE:
                    yield _COMMENT
                    spoke = clock()
        if not ended:
            problem = Problem(detail=f"Job {self._job.id} was deleted.")
            yield _event("deleted", problem.model_dump_json())

    def _event(self, item: Job | Written) -> bytes:
        if isinstance(item, Written):
            text = json.dumps(item.content.decode(errors="replace"), ensure_ascii=False)
            return _event(FILES[item.name], text, written_id(self._output.positions))
        data = JobModelDTO.model_validate(item).model_dump_json()
        return _event("job", data, END if item.state.is_final else None)


def _event(name: str, data: str, event_id: str | None = None) -> bytes:
    lines = [f"event: {name}", f"data: {data}"]
    if event_id is not None:
        lines.append(f"id: {event_id}")
    return "\n".join([*lines, "", ""]).encode()
