"""A configuration as operators of the original have it, through the API, with and without optional fields."""

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from flows.jobs.job import Job
from tests.api.conftest import Site, no_workers, serving, settings, zip_of

CONFIG = r"""
destination_picker: bartender.picker:pick_first
applications:
  dock:
    command_template: dock {{ workflow|q }} {% if seed %}--seed {{ seed|q }}{% endif %}

    upload_needs: [workflow.cfg]
    input_schema:
      type: object
      properties: {workflow: {type: string, default: workflow.cfg}, seed: {type: string}}
destinations:
  here: {scheduler: {type: memory, slots: 1}, filesystem: {type: local}}
interactive_applications:
  weigh:
    description: Scores again, with other weights.
    job_application: dock
    command_template: >
      sh tool.sh weigh
      --elec {{elec|q}} --air {{ air|q }}
      {{ directory|q }}
      &&
      sh tool.sh report -m {{ module|q }}
    input_schema:
      additionalProperties: false
      type: object
      properties:
        {elec: {type: number}, air: {type: number}, directory: {type: string}, module: {type: number}}
      required: [elec, air, directory, module]
  group:
    description: Makes other groups.
    job_application: dock
    command_template: >
      sh tool.sh group
      {% if by == 'number' -%}
      --groups {{groups|q}}
      {% else -%}
      --cutoff {{cutoff|q}}
      {% endif -%}
      {% if smallest -%}
      --smallest {{smallest|q}}
      {% endif -%}
      {{directory|q}}
      &&
      sh tool.sh report
    input_schema:
      additionalProperties: false
      type: object
      properties:
        by: {type: string, enum: [number, distance]}
        groups: {type: number}
        cutoff: {type: number}
        smallest: {type: number}
        directory: {type: string}
      required: [by, directory]
  draw:
    job_application: dock
    command_template: |
      {% set sides = {'front': '--front', 'both': '--front --back'} %}
      sh tool.sh draw \
      {% if title is defined %}
        --title "{{ title }}" \
      {% endif %}
      {% for colour in colours %}
        --colour {{ colour|q }} \
      {% endfor %}
      {% if labels %}
        --labels {{ labels|map('q')|join(' ') }} \
      {% endif %}
        {{ sides[side] }} {{ (name|default('plot')|q) ~ '.svg' }}
    input_schema:
      additionalProperties: false
      type: object
      properties:
        title: {type: string}
        colours: {type: array, items: {type: string}}
        labels: {type: array, items: {type: string}}
        side: {enum: [front, both], default: front}
        name: {type: string}
"""
TOOL = b"printf '%s\\n' \"$@\"\n"


def weigh(sent: dict[str, Any]) -> list[str]:
    return ["weigh", "--elec", "0.5", "--air", "-1", sent["directory"], "report", "-m", "3"]


def group(sent: dict[str, Any]) -> list[str]:
    name, option = ("groups", "--groups") if sent["by"] == "number" else ("cutoff", "--cutoff")
    smallest = ["--smallest", "4"] if "smallest" in sent else []
    return ["group", option, str(sent.get(name, "")), *smallest, sent["directory"], "report"]


def draw(sent: dict[str, Any]) -> list[str]:
    title = ["--title", sent["title"]] if "title" in sent else []
    colours = [word for colour in sent.get("colours", []) for word in ("--colour", colour)]
    labels = ["--labels", *sent["labels"]] if "labels" in sent else []
    sides = ["--front", "--back"] if "side" in sent else ["--front"]
    return ["draw", *title, *colours, *labels, *sides, sent.get("name", "plot") + ".svg"]


# For each: the words that it has to get, the fields that are required and those that are not.
Values = dict[str, Any]
APPLICATIONS: dict[str, tuple[Callable[[Values], list[str]], Values, Values]] = {
    "weigh": (weigh, {"elec": 0.5, "air": -1, "directory": "out put/$(id)", "module": 3}, {}),
    "group": (group, {"by": "number", "directory": "a'b"}, {"groups": 2, "cutoff": 7.5, "smallest": 4}),
    "group by distance": (group, {"by": "distance", "directory": "-"}, {"cutoff": 7.5, "smallest": 4}),
    "draw": (
        draw,
        {},
        {"title": 'a "b" $(id) `id`', "colours": ["red", "sea green"], "labels": ["", "x;id", "y"]}
        | {"side": "both", "name": "its; name"},
    ),
}
REQUESTS = [
    (title, {**needed, **{name: others[name] for name in chosen}})
    for title, (_, needed, others) in APPLICATIONS.items()
    for number in range(len(others) + 1)
    for chosen in itertools.combinations(others, number)
]


@pytest_asyncio.fixture
async def visitor(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A visitor of a server with this configuration, on the database and the disk of the site."""
    environment = settings(tmp_path, site.store.pool.url, site.keys)
    (tmp_path / "config.yaml").write_text(CONFIG)
    for name, value in (environment | {"BARTENDER_DATA_DIR": str(site.data_dir)}).items():
        monkeypatch.setenv(name, value)
    headers = {"Authorization": f"Bearer {site.keys.token()}"}
    async with (
        serving(create_app(open_workers=no_workers)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client,
    ):
        yield client


@pytest_asyncio.fixture
async def job(site: Site) -> Job:
    return await site.ended_job({"tool.sh": TOOL}, application="dock")


async def test_every_interactive_application_with_and_without_each_field(
    visitor: httpx.AsyncClient, job: Job
) -> None:
    for title, sent in REQUESTS:
        answer = await visitor.post(f"/api/job/{job.id}/interactive/{title.split()[0]}", json=sent)
        expected = APPLICATIONS[title][0](sent)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"returncode": 0, "stdout": "\n".join([*expected, ""]), "stderr": ""}


async def test_what_is_required_is_demanded(visitor: httpx.AsyncClient, job: Job) -> None:
    for title, (_, needed, _) in APPLICATIONS.items():
        for name in needed:
            sent = {key: value for key, value in needed.items() if key != name}
            answer = await visitor.post(f"/api/job/{job.id}/interactive/{title.split()[0]}", json=sent)
            assert answer.status_code == 422
            assert name in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "command"),
    [
        ({}, "dock workflow.cfg "),
        ({"seed": "1 2"}, "dock workflow.cfg --seed '1 2'"),
        ({"workflow": "", "seed": ""}, "dock '' "),
    ],
)
async def test_a_submission(
    visitor: httpx.AsyncClient, site: Site, fields: dict[str, str], command: str
) -> None:
    upload = {"upload": ("job.zip", zip_of({"workflow.cfg": b""}), "application/zip")}
    answer = await visitor.put("/api/application/dock", data=fields, files=upload)
    assert answer.status_code == 303, answer.text
    [job] = await site.jobs()
    assert job.command == command
