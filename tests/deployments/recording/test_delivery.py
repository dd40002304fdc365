"""Events on their way to those who wait for them, while the broker of messages is away."""

import uuid
from collections.abc import Iterable

import pytest
from prefect.server.events import messaging
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import (
    PREFECT_SERVER_EVENTS_MESSAGING_BROKER,
    PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
    temporary_settings,
)

from deployments.recording.route.delivery import Delivery, Undelivered
from deployments.recording.route.rows import Row


class Broker:
    """Takes what is published unless it ``is_away``."""

    def __init__(self) -> None:
        self.is_away = False
        self.taken: list[str] = []

    async def publish(self, events: Iterable[ReceivedEvent]) -> None:
        if self.is_away:
            raise ConnectionError
        self.taken += [str(event.id) for event in events]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(messaging, "publish", broker.publish)
    return broker


def event() -> Row:
    return {
        "id": str(uuid.uuid4()),
        "occurred": "2026-11-28T17:00:00+00:00",
        "event": "prefect.flow-run.Running",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{uuid.uuid4()}"},
        "related": [],
        "payload": {},
        "follows": None,
    }


async def test_what_could_not_be_handed_on_is_before_anything_more_is_written(broker: Broker) -> None:
    delivery = Delivery(by_pipeline=True, kept=True)
    first, second = event(), event()
    broker.is_away = True
    await delivery.deliver([first])  # it is written: that is said
    for _ in range(2):
        with pytest.raises(Undelivered):
            await delivery.catch_up()
    broker.is_away = False
    await delivery.catch_up()
    await delivery.deliver([second])
    await delivery.catch_up()
    assert broker.taken == [first["id"], second["id"]]


async def test_an_event_that_is_none_is_not_in_the_way_of_others(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = Delivery(by_pipeline=True, kept=True)
    bad, good = event(), event()
    bad["occurred"] = "some day"
    await delivery.deliver([bad, good])
    await delivery.catch_up()
    assert broker.taken == [good["id"]]
    assert str(bad["id"]) in caplog.text


def test_several_servers_hear_of_all_events() -> None:
    """Also where none of them has automations: who watches the events may be at another one."""
    without = {PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False}
    with temporary_settings(without):
        assert not Delivery.of_this_server().by_pipeline
    with temporary_settings({**without, PREFECT_SERVER_EVENTS_MESSAGING_BROKER: "prefect_redis.messaging"}):
        assert Delivery.of_this_server().by_pipeline
