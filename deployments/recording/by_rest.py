"""Tells by Prefect's public API, where the server is an operator's own or does not have our route.

Prefect gives such runs ids and times of its own. One that it does not know yet is made under its idempotency
key, which finds it again; of a run's states, those are told that lead from where it is to where it is to be.
"""

import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import httpx
import prefect
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.responses import DeploymentResponse

from deployments.recording import task_runs
from deployments.recording.halving import in_halves
from deployments.recording.reports import FINAL, Answer, RunReport, StateReport, Verdict
from deployments.recording.task_runs import Json, Results
from flows.errors import Refused, Unavailable, one_line
from flows.prefect_api import never_takes, unavailable_when_prefect_is_away

AT_ONCE = 50
"""Runs of which Prefect changes the state in one call."""

REMEMBERED = 20_000
"""Runs of which is remembered what was told: it is told again of others, which changes nothing."""

MOST_ERRORS = 5
"""That a server which is well answers batches with in a row: the next one is about what is told."""

_ABOUT_VALUES = {400, 409, 413, 422}

_Steps = list[tuple[StateReport, bool]]
"""States to set, and whether by force: against Prefect's rules."""


class RestRecorder:
    """The recorder for any Prefect server.

    ``deployment`` returns that of jobs, and makes it where there is none; ``results`` is the block that keeps
    what steps return.
    """

    def __init__(
        self,
        client: PrefectClient,
        deployment: Callable[[], Awaitable[DeploymentResponse]],
        results: uuid.UUID | None,
    ) -> None:
        self._client = client
        self._find_deployment = deployment
        self._deployment: DeploymentResponse | None = None
        self._results = Results(results, prefect.__version__)
        self._told: OrderedDict[uuid.UUID, set[uuid.UUID]] = OrderedDict()
        self._errors = 0

    def results_are_in(self, block: uuid.UUID) -> None:
        """Name the block that keeps what steps return."""
        self._results = Results(block, prefect.__version__)

    async def record(self, reports: Sequence[RunReport]) -> Sequence[Answer]:
        answers = await self._or_halves(reports, give_up=self._errors >= MOST_ERRORS)
        self._errors = 0
        return answers

    async def _or_halves(self, reports: Sequence[RunReport], *, give_up: bool) -> Sequence[Answer]:
        """Tell; where that fails for what is told, tell halves of it, lest one keeps others from being told.

        ``give_up``: whether errors of a server that is well are for that, too.
        """
        try:
            with unavailable_when_prefect_is_away():
                return await self._record(reports)
        except Unavailable as error:
            # Of its database Prefect says only that it may be asked again, also about what it can never keep.
            cause = error.__cause__
            if not (isinstance(cause, httpx.HTTPStatusError) and await never_takes(self._client, cause)):
                raise
            if not give_up:
                self._errors += 1
                raise
            text = one_line(str(cause))
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in _ABOUT_VALUES:
                self._deployment = None  # it may have been deleted: then it is made anew
                raise Refused("The Prefect server does not take what it is told of jobs.") from error
            text = one_line(str(error))
        return await in_halves(reports, text, partial(self._or_halves, give_up=give_up))

    async def _record(self, reports: Sequence[RunReport]) -> list[Answer]:
        runs = await self._read(reports)
        answers: dict[uuid.UUID, Answer] = {}
        missing = [report for report in reports if report.flow_run_id not in runs]
        answers |= {report.flow_run_id: Answer(Verdict.DELETED) for report in missing if report.known}
        answers |= await self._create([report for report in missing if not report.known], runs)
        there = [report for report in reports if report.flow_run_id not in answers]
        answers |= await self._set_states(there, runs)
        await self._tag(there, runs)
        await self._tell_of_tasks(there, runs)
        return [answers[report.flow_run_id] for report in reports]

    async def _read(self, reports: Sequence[RunReport]) -> dict[uuid.UUID, Json]:
        """Return Prefect's runs by the ids that they have in the reports."""
        ids = [str(report.flow_run_id) for report in reports]
        keys = {report.idempotency_key: report.flow_run_id for report in reports}
        wanted = {"operator": "or_", "id": {"any_": ids}, "idempotency_key": {"any_": list(keys)}}
        found = await self._post("/flow_runs/filter", {"flow_runs": wanted})
        runs = {keys[run["idempotency_key"]]: run for run in found if run["idempotency_key"] in keys}
        return runs | {uuid.UUID(run["id"]): run for run in found if run["id"] in ids}

    async def _create(
        self, reports: Sequence[RunReport], runs: dict[uuid.UUID, Json]
    ) -> dict[uuid.UUID, Answer]:
        """Make runs, put them into ``runs``, and return the answers about those that Prefect refuses."""
        if not reports:
            return {}
        path = f"/deployments/{(await self._deployment_now()).id}/create_flow_run/bulk"
        made = await self._post(path, [_creation(report) for report in reports])
        refused: dict[uuid.UUID, Answer] = {}
        for report, result in zip(reports, made["results"], strict=True):
            if result["status"] == "FAILED":
                refused[report.flow_run_id] = Answer(Verdict.REFUSED, one_line(result["error"]))
            else:
                runs[report.flow_run_id] = {"id": result["flow_run_id"], "state": _first(report)}
        return refused

    async def _set_states(
        self, reports: Sequence[RunReport], runs: dict[uuid.UUID, Json]
    ) -> dict[uuid.UUID, Answer]:
        answers: dict[uuid.UUID, Answer] = {}
        rounds: list[dict[tuple[str, bool], list[RunReport]]] = [defaultdict(list), defaultdict(list)]
        states: dict[str, Json] = {}
        for report in reports:
            decided, steps = _decide(report, runs[report.flow_run_id]["state"], self._of(report))
            answers[report.flow_run_id] = Answer(decided)
            for number, (state, force) in enumerate(steps[-2:], start=2 - len(steps[-2:])):
                body = _state(state)
                states[repr(body)] = body
                rounds[number][repr(body), force].append(report)
        for together in rounds:
            for (key, force), concerned in together.items():
                for begin in range(0, len(concerned), AT_ONCE):
                    some = concerned[begin : begin + AT_ONCE]
                    answers |= await self._set_state(some, runs, states[key], force=force)
        for report in reports:
            if answers[report.flow_run_id].verdict is Verdict.WRITTEN:
                self._of(report).update(state.id for state in report.states)
        return answers

    async def _set_state(
        self, reports: Sequence[RunReport], runs: dict[uuid.UUID, Json], state: Json, *, force: bool
    ) -> dict[uuid.UUID, Answer]:
        by_id = {runs[report.flow_run_id]["id"]: report.flow_run_id for report in reports}
        wanted = {"id": {"any_": list(by_id)}}
        body = {"flow_runs": wanted, "state": state, "force": force}
        answers = {flow_run_id: Answer(Verdict.DELETED) for flow_run_id in by_id.values()}
        for result in (await self._post("/flow_runs/bulk_set_state", body))["results"]:
            answers[by_id[result["flow_run_id"]]] = _answer(result)
        return answers

    async def _tag(self, reports: Sequence[RunReport], runs: dict[uuid.UUID, Json]) -> None:
        """Add what was not known when the runs were made: their destinations."""
        for report in reports:
            run = runs[report.flow_run_id]
            there = run.get("tags", report.tags)
            if more := [tag for tag in report.tags if tag not in there]:
                try:
                    await self._call("PATCH", f"/flow_runs/{run['id']}", {"tags": [*there, *more]})
                except httpx.HTTPStatusError as error:
                    if error.response.status_code != httpx.codes.NOT_FOUND:  # deleted just now
                        raise

    async def _tell_of_tasks(self, reports: Sequence[RunReport], runs: dict[uuid.UUID, Json]) -> None:
        """Send the events from which Prefect's server makes task runs."""
        events = [event for report in reports for event in self._events(report, runs[report.flow_run_id])]
        if events:
            await self._post("/events", events)
        for report in reports:
            self._of(report).update(state.id for task in report.tasks for state in task.states)

    def _events(self, report: RunReport, run: Json) -> Iterator[Json]:
        related = [
            {
                "prefect.resource.id": f"prefect.flow-run.{run['id']}",
                "prefect.resource.role": "flow-run",
                "prefect.resource.name": report.name,
            },
            *(
                {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}
                for tag in report.tags
            ),
        ]
        for task in report.tasks:
            yield from task_runs.events(
                task,
                task.states,
                self._of(report),
                attempt=1,
                related=related,
                results=self._results,
                orchestration="client",
            )

    def _of(self, report: RunReport) -> set[uuid.UUID]:
        """Return the ids of the states that were told of a run."""
        told = self._told.setdefault(report.flow_run_id, set())
        self._told.move_to_end(report.flow_run_id)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return told

    async def _deployment_now(self) -> DeploymentResponse:
        if self._deployment is None:
            self._deployment = await self._find_deployment()
        return self._deployment

    async def _post(self, path: str, body: Any) -> Any:
        return await self._call("POST", path, body)

    async def _call(self, method: Literal["POST", "PATCH"], path: str, body: Any) -> Any:
        response = await self._client.request(method, path, json=body)  # type: ignore[arg-type]  # any path
        return response.json() if response.content else None


def _creation(report: RunReport) -> Json:
    return {
        "name": report.name,
        "parameters": dict(report.parameters),
        "enforce_parameter_schema": False,
        "tags": list(report.tags),
        "idempotency_key": report.idempotency_key,
        "state": _first(report),
    }


def _first(report: RunReport) -> Json:
    """Return the state that a run is made in: one call less for those that have begun."""
    begun = next((state for state in report.states if state.type == "RUNNING"), None)
    return _state(begun or report.states[0])


def _state(state: StateReport) -> Json:
    body: Json = {"type": state.type, "name": state.name}
    if state.message:
        body["message"] = state.message.replace(
            "\0", ""
        )  # which Prefect would answer with "try again", for ever
    if state.scheduled_on is not None:
        body["state_details"] = {"scheduled_time": state.scheduled_on.isoformat()}
    return body


def _decide(report: RunReport, now: Json | None, told: set[uuid.UUID]) -> tuple[Verdict, _Steps]:
    """Return what becomes of the state that Prefect has ``now``, and what is to be set."""
    last = report.states[-1]
    kind = None if now is None else now["type"]
    if kind == last.type and (last.type not in FINAL or (now and now.get("message") == last.message)):
        return Verdict.WRITTEN, []
    if kind == "CANCELLED":
        return Verdict.CANCELLED, []
    if last.id in told:
        return (Verdict.CANCELLING if kind == "CANCELLING" else Verdict.OLDER), []
    has_begun = any(state.type == "RUNNING" for state in report.states)
    if last.type in FINAL:
        begun = [state for state in report.states if state.type == "RUNNING"][:1]
        first: _Steps = [(begun[0], False)] if has_begun and kind in {None, "SCHEDULED", "PENDING"} else []
        return Verdict.WRITTEN, [*first, (last, True)]
    if kind == "CANCELLING":
        return Verdict.CANCELLING, []
    if kind == "PAUSED":
        return Verdict.OLDER, []
    is_again = any(state.name == "AwaitingRetry" for state in report.states)
    if kind in FINAL and not is_again:
        return Verdict.OLDER, []
    return Verdict.WRITTEN, [(last, kind in FINAL)]


def _answer(result: Json) -> Answer:
    if result["status"] == "ACCEPT":
        return Answer(Verdict.WRITTEN)
    if result["status"] == "ABORT":
        return Answer(Verdict.REFUSED, one_line(str(result["details"].get("reason"))))
    kind = (result["state"] or {"type": ""})["type"]
    return Answer({"CANCELLING": Verdict.CANCELLING, "CANCELLED": Verdict.CANCELLED}.get(kind, Verdict.OLDER))
