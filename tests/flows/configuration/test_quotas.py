"""Who may have how much, by the configuration file."""

import pytest
from pydantic import ValidationError

from flows.configuration.quotas import Quotas
from flows.jobs.quotas import Quota
from flows.jobs.shares import NO_LIMIT, RunningLimits
from flows.jobs.users import User

QUOTAS = Quotas.model_validate(
    {
        "each": {"running": 2, "queued": 10, "bytes": 1000},
        "roles": {"a": {"running": 4}, "b": {"running": 3, "bytes": "unlimited"}, "c": {"bytes": 5000}},
        "submitters": {"x": {"running": 1, "queued": "unlimited", "submissions_per_hour": 7}},
    }
)


@pytest.mark.parametrize(
    ("user", "quota"),
    [
        (User("y"), Quota(running=2, queued=10, bytes=1000)),
        (User("y", ["other", "a"]), Quota(running=4, queued=10, bytes=1000)),
        (User("y", ["a", "b", "c"]), Quota(running=4, queued=10)),
        (User("y", ["c"]), Quota(running=2, queued=10, bytes=5000)),
        (User("x", ["a"]), Quota(running=1, bytes=1000, submissions=7)),
    ],
)
def test_what_a_visitor_may_have(user: User, quota: Quota) -> None:
    assert QUOTAS.of(user) == quota
    assert quota


def test_without_quotas_nobody_has_one() -> None:
    assert not Quotas().of(User("y", ["a"]))
    assert Quotas().running is None
    assert Quotas.model_validate({"each": {"queued": 1}}).running is None


def test_limits_for_those_who_begin_jobs() -> None:
    assert QUOTAS.running == RunningLimits({"x": 1}, {"a": 4, "b": 3}, 2)
    only_some = Quotas.model_validate({"roles": {"a": {"running": 4}, "b": {"running": "unlimited"}}})
    assert only_some.running == RunningLimits({}, {"a": 4, "b": NO_LIMIT}, NO_LIMIT)


@pytest.mark.parametrize("limits", [{"running": 0}, {"bytes": -1}, {"queued": "many"}, {"jobs": 1}])
def test_limits_that_cannot_be(limits: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Quotas.model_validate({"each": limits})
