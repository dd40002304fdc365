"""One run at a pilot, with Prefect and the service played; its command is a real one."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployments.pilot.files import JobFiles, NotHere
from deployments.pilot.ledger import Entry, Ledger
from deployments.pilot.taking import TakenRuns
from flows.pilots import words
from flows.pilots.orders import POOL_TYPE, VERSION, Order
from flows.pilots.rest import Login, NotFound, PrefectRest
from tests.waiting import LONG_ENOUGH

WORKER = "one-ab12"


class PlayedPrefect(PrefectRest):
    """Has the runs that ``add`` makes; a state is taken by the rules that pilots rely on."""

    def __init__(self) -> None:
        super().__init__(Login("http://prefect.invalid/api"))
        self.states_of: dict[str, list[dict[str, Any]]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.broken: list[Exception] = []
        """What is raised next, instead of answers to questions for a run."""

    def add(self, order: Order) -> str:
        run = str(uuid.uuid4())
        self.orders[run] = order.parameters()
        self.states_of[run] = []
        self.set(run, words.to_be_taken(""))
        return run

    def kinds(self, run: str) -> list[str]:
        return [state["type"] for state in self.states_of[run]]

    def last(self, run: str) -> dict[str, Any]:
        return self.states_of[run][-1]

    def set(self, run: str, state: Mapping[str, Any]) -> None:
        number = len(self.states_of[run])
        self.states_of[run].append({**state, "timestamp": f"{number:06}"})

    async def ask(self, method: str, path: str, json: Any = None) -> Any:
        self.asked.append(f"{method} {path}")
        await asyncio.sleep(0)
        match [method, *path.strip("/").partition("?")[0].split("/")]:
            case ["GET", "flow_runs", run]:
                if self.broken:
                    raise self.broken.pop(0)
                return self._row(run)
            case ["PATCH", "flow_runs", run]:
                self.orders[run] = json["parameters"]
            case ["POST", "flow_runs", "filter"]:
                ids = json["flow_runs"].get("id", {}).get("any_", [])
                return [self._row(run) for run in ids if run in self.states_of]
            case ["POST", "flow_runs", run, "set_state"]:
                return self._set_state(run, json["state"])
            case ["GET", "flow_run_states", *_]:
                return self.states_of.get(path.partition("=")[2], [])
            case ["GET", "deployments", "name", _, name]:
                return {"id": "deployment", "work_pool_name": name, "version": str(VERSION)}
            case ["GET", "work_pools", _]:
                return {"type": POOL_TYPE, "is_paused": False}
            case ["POST", "work_pools", _, "workers", "filter"]:
                return []
            case ["GET", "block_types", *_]:
                return {"data": {"variables": {"COLOUR": "red"}}}
            case other:
                raise AssertionError(other)
        return None

    async def tell(self, method: str, path: str, json: Any = None) -> None:
        await self.ask(method, path, json)

    def _row(self, run: str) -> dict[str, Any]:
        if run not in self.states_of:
            raise NotFound(run)
        return {"id": run, "name": run, "state": self.last(run), "parameters": self.orders[run]}

    def _set_state(self, run: str, state: dict[str, Any]) -> dict[str, Any]:
        if run not in self.states_of:
            raise NotFound(run)
        now = self.last(run)
        if state["type"] == "PENDING" and now["type"] != "SCHEDULED":
            return {"status": "ABORT", "state": None}
        scheduled = {"scheduled_time": "now"} if now["type"] == "SCHEDULED" else {}
        details = {**(state.get("state_details") or {}), **scheduled}
        self.set(run, {**state, "state_details": details})
        return {"status": "ACCEPT", "state": self.last(run)}


class PlayedFiles:
    """Files in a directory of the test; ``refusals`` are what ``send`` raises, one after the other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.refusals: list[Exception] = []
        self.fetching: list[Exception] = []
        self.sent = 0
        self.given_back: list[int] = []
        self.refusal_to_give_back: list[Exception] = []
        self.is_sending = asyncio.Event()
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def fetch(self, order: Order, directory: Path) -> Path:
        if self.fetching:
            raise self.fetching.pop(0)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory.mkdir(exist_ok=True)
        return self.directory

    async def send(self, order: Order, directory: Path) -> None:
        self.is_sending.set()
        await self.may_send.wait()
        assert directory.is_dir()
        if self.refusals:
            raise self.refusals.pop(0)
        self.sent += 1

    async def give_back(self, order: Order) -> None:
        if self.refusal_to_give_back:
            raise self.refusal_to_give_back.pop(0)
        self.given_back.append(order.turn)


class Played:
    """A pilot of one pool, whose loops are the test's to play."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.prefect = PlayedPrefect()
        self.files = PlayedFiles(directory / "files")
        self.has_way = True
        self.taken = self._taken()

    def _taken(self) -> TakenRuns:
        return TakenRuns(
            "pool",
            WORKER,
            self.directory / "pilot",
            slots=8,
            rest=self.prefect,
            files=self._files,
            time_left=lambda: float("inf"),
        )

    def _files(self, filesystem: str) -> JobFiles:
        if not self.has_way:
            raise NotHere("the pilot has no BARTENDER_API_URL or BARTENDER_PILOT_KEY")
        return self.files

    async def begin(self, command: str, **more: Any) -> str:
        """Take a run of this command; return its id."""
        run = self.prefect.add(replace(ORDER, command=command, token=str(uuid.uuid4()), **more))
        entry = Entry(run, words.Claim(WORKER, str(uuid.uuid4())), Order.read(self.prefect.orders[run]))
        Ledger(self.directory / "pilot/ledger/pool").keep(entry)
        await self.taken.resume()
        return run

    async def idle(self) -> None:
        await until(lambda: self.taken.is_idle)

    async def restart(self) -> None:
        """Let the next process of this pilot go on."""
        await self.taken.stop()
        self.taken = self._taken()
        await self.taken.resume()

    async def close(self) -> None:
        await self.taken.stop()
        await self.prefect.close()


ORDER = Order(
    token="t",
    job_id=7,
    application="wc",
    command="wc",
    directory="/d",
    destination="there",
    filesystem="http",
)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in this process."""
    async with asyncio.timeout(LONG_ENOUGH):
        while not condition():
            await asyncio.sleep(0.01)
