"""How events come to those who wait for them, in Prefect's own process.

Where automations are enabled, they go Prefect's own way, which ends in its table too. That costs ten times
what all the rest of a run does; so where there are none, they are written together with the run, and handed
to those who watch the event feed just then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prefect.server.events import messaging, stream
from prefect.server.events.filters import EventFilter
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import get_current_settings

from deployments.recording.route.rows import Row


@dataclass(frozen=True, slots=True)
class Delivery:
    """``by_pipeline``: automations may wait for them. ``kept``: they are in the table, whoever writes it."""

    by_pipeline: bool
    kept: bool

    @classmethod
    def of_this_server(cls) -> "Delivery":
        """Return what the operator's settings of this server ask for."""
        services = get_current_settings().server.services
        return cls(by_pipeline=services.triggers.enabled, kept=services.event_persister.enabled)

    @property
    def by_us(self) -> bool:
        """Whether we write the table."""
        return self.kept and not self.by_pipeline

    async def deliver(self, events: Sequence[Row]) -> None:
        """Hand on what has happened, after it was committed."""
        if self.by_pipeline:
            await messaging.publish([_received(event) for event in events])
        elif stream.subscribers:
            for event in events:
                _offer(event)


def _received(event: Row) -> ReceivedEvent:
    return ReceivedEvent.model_validate(event)


def _offer(event: Row) -> None:
    waiting = [queue for queue in stream.subscribers if _may_want(stream.filters[queue], event["event"])]
    if not waiting:
        return
    received = _received(event)
    for queue in waiting:
        if not stream.filters[queue].excludes(received) and not queue.full():
            queue.put_nowait(received)


def _may_want(wanted: EventFilter, name: str) -> bool:
    """Whether it is worth while to make an event for this subscriber: each worker is one, of one name."""
    if wanted.event is None or wanted.event.prefix:
        return True
    return not wanted.event.name or name in wanted.event.name
