"""How events come to those who wait for them, in Prefect's own process.

Where automations are enabled, or other servers share the database, they go Prefect's own way, which ends in
its table too. That costs ten times what all the rest of a run does; so where there are none, they are written
together with the run, and handed to those who watch the event feed just then.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from prefect.server.events import messaging, stream
from prefect.server.events.filters import EventFilter
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import get_current_settings
from pydantic import ValidationError

from deployments.recording.route.rows import Row

logger = logging.getLogger(__name__)

_OF_ONE_SERVER = "prefect.server.utilities.messaging.memory"


class Undelivered(Exception):
    """What was written before could not be handed on yet, since the broker of messages is away."""


@dataclass(slots=True)
class Delivery:
    """``by_pipeline``: others may wait for them. ``kept``: they are in the table, whoever writes it."""

    by_pipeline: bool
    kept: bool
    _waiting: list[ReceivedEvent] = field(default_factory=list)

    @classmethod
    def of_this_server(cls) -> "Delivery":
        """Return what the operator's settings of this server ask for."""
        server = get_current_settings().server
        is_one_of_several = server.events.messaging_broker != _OF_ONE_SERVER
        return cls(
            by_pipeline=server.services.triggers.enabled or is_one_of_several,
            kept=server.services.event_persister.enabled,
        )

    @property
    def by_us(self) -> bool:
        """Whether we write the table."""
        return self.kept and not self.by_pipeline

    async def catch_up(self) -> None:
        """Hand on what could not be; raise Undelivered while it cannot: more of it would have to be kept."""
        if self._waiting and not await self._publish():
            raise Undelivered

    async def deliver(self, events: Sequence[Row]) -> None:
        """Hand on what has happened, after it was committed; what cannot be now waits for ``catch_up``."""
        if self.by_pipeline:
            self._waiting += [taken for event in events if (taken := _received(event)) is not None]
            await self._publish()
        elif stream.subscribers:
            for event in events:
                _offer(event)

    async def _publish(self) -> bool:
        """Whether all is handed on. Those that were before are known by their ids, and dropped."""
        try:
            await messaging.publish(sent := list(self._waiting))
        except Exception as error:  # of whatever library the broker is reached by
            logger.warning("%d events are handed on later: %r", len(self._waiting), error)
            return False
        ids = {event.id for event in sent}  # more may have come meanwhile
        self._waiting = [event for event in self._waiting if event.id not in ids]
        return True


def _received(event: Row) -> ReceivedEvent | None:
    try:
        return ReceivedEvent.model_validate(event)
    except ValidationError as error:  # what can never be handed on must not be in the way of all that follows
        logger.error("The event %s of a run is handed on to nobody: %s", event.get("id"), error)  # noqa: TRY400
        return None


def _offer(event: Row) -> None:
    waiting = [queue for queue in stream.subscribers if _may_want(stream.filters[queue], event["event"])]
    if not waiting:
        return
    if (received := _received(event)) is None:
        return
    for queue in waiting:
        if not stream.filters[queue].excludes(received) and not queue.full():
            queue.put_nowait(received)


def _may_want(wanted: EventFilter, name: str) -> bool:
    """Whether it is worth while to make an event for this subscriber: each worker is one, of one name."""
    if wanted.event is None or wanted.event.prefix:
        return True
    return not wanted.event.name or name in wanted.event.name
