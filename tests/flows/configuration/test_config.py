from pathlib import Path

import pytest
import yaml

from flows import pickers
from flows.archives.limits import UploadLimits
from flows.configuration.config import Config, load
from flows.errors import ConfigurationError
from flows.jobs.users import User
from flows.schedulers import memory

MINIMAL = "applications: {wc: {command_template: wc README.md}}\n"


def configured(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(path)


def test_what_is_not_configured_has_a_default(tmp_path: Path) -> None:
    loaded = configured(tmp_path, MINIMAL)
    assert list(loaded.destinations) == ["local"]
    assert loaded.destination_picker == "flows.pickers:pick_first"


def test_type_names_the_module(tmp_path: Path) -> None:
    loaded = configured(
        tmp_path,
        MINIMAL + "destinations: {here: {scheduler: {type: memory, slots: 7}, filesystem: {type: local}}}",
    )
    assert loaded.destinations["here"].scheduler.config == memory.Scheduler.Config(slots=7)


def test_job_root_dir_is_relative_to_the_file(tmp_path: Path) -> None:
    assert configured(tmp_path, MINIMAL + "job_root_dir: jobs").job_root_dir == tmp_path / "jobs"


def test_limits_of_uploads(tmp_path: Path) -> None:
    assert configured(tmp_path, MINIMAL + "uploads: {max_depth: 3}").uploads == UploadLimits(max_depth=3)


def test_the_example_shows_the_default_limits(checkout: Path) -> None:
    example = (checkout / "config-example.yaml").read_text()
    commented = (
        example[example.index("# uploads:") :].partition("\n\n")[0].replace("\n# ", "\n").removeprefix("# ")
    )
    assert yaml.safe_load(commented) == {"uploads": UploadLimits().model_dump()}


@pytest.mark.parametrize(("keys", "seconds"), [("", 300), ("timeout: 5,", 50), ("kill_after: 40,", 40)])
def test_when_an_interactive_application_is_ended(tmp_path: Path, keys: str, seconds: float) -> None:
    application = "i: {" + keys + " command_template: ls, input_schema: {type: object}}"
    loaded = configured(tmp_path, MINIMAL + "interactive_applications: {" + application + "}")
    assert loaded.interactive_applications["i"].kill_after == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold keys"),
        ("a: [", "is not YAML"),
        ("applications: {}", "applications"),
        ("applications: {wc: {}}", "applications.wc.command_template is missing"),
        (MINIMAL + "extra: 1", "extra is not a known key"),
        (MINIMAL + "uploads: {max_entries: 0}", "uploads.max_entries"),
        (MINIMAL + "uploads: {max_size: 1}", "uploads.max_size is not a known key"),
        (MINIMAL + "quotas: {each: {running: 0}}", "quotas.each.running"),
        (MINIMAL + "quotas: {each: {jobs: 1}}", "quotas.each.jobs is not a known key"),
        (MINIMAL + "quotas: {roles: {a: 3}}", "quotas.roles.a"),
        (
            "applications: {wc: {command_template: 'wc {{'}}",
            "applications.wc.command_template is not a template",
        ),
        ("applications: {wc: {command_template: wc, input_schema: {type: 3}}}", "is not a JSON schema"),
        ("applications: {wc: {command_template: wc, input_schema: {type: array}}}", "must have type: object"),
        (
            MINIMAL + "destinations: {x: {scheduler: {type: nope}, filesystem: {type: local}}}",
            "unknown type 'nope'",
        ),
        (
            MINIMAL + "destinations: {x: {scheduler: {}, filesystem: {type: local}}}",
            "scheduler must have a type",
        ),
        (
            MINIMAL + "destinations: {x: {scheduler: {type: memory, slots: 0}, filesystem: {type: local}}}",
            "destinations.x.scheduler.slots",
        ),
        ("applications: {a/b: {command_template: wc}}", "without a slash"),
        (
            MINIMAL + "interactive_applications: {i: {command_template: ls, input_schema: {type: object},"
            " job_application: no}}",
            "interactive_applications.i.job_application",
        ),
        (
            "applications: {wc: {command_template: wc, input_schema: {type: object, $ref: '#/no'}}}",
            "applications.wc.input_schema refers to '#/no', which is not there: correct it",
        ),
        (
            "applications: {wc: {command_template: 'wc {{ n }} {{ nme }} {{ x }}',"
            " input_schema: {type: object, properties: {n: {}, name: {}}}}}",
            "applications.wc has 'nme' and 'x' in its command_template, but not in its input_schema: correct",
        ),
        (
            MINIMAL + "interactive_applications: {i: {command_template: ls, input_schema: {type: object},"
            " timeout: 9, kill_after: 8}}",
            "interactive_applications.i has a kill_after of 8 seconds, which is less than its timeout of 9",
        ),
        (
            MINIMAL + "interactive_applications: {i: {command_template: '{% if m %}{% endif %}',"
            " input_schema: {type: object}}}",
            "interactive_applications.i has 'm' in its command_template",
        ),
        (
            MINIMAL + "interactive_applications: {i: {command_template: ls, input_schema:"
            " {type: object, properties: {a: {$ref: http://localhost/x.json}}}}}",
            "interactive_applications.i.input_schema refers in properties.a to 'http://localhost/x.json'",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, text)
    assert said in str(caught.value)
    assert str(tmp_path / "config.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load(tmp_path / "no.yaml")


DESTINATIONS = """
destinations:
  wc: {scheduler: {type: memory}, filesystem: {type: local}}
  other: {scheduler: {type: eager}, filesystem: {type: local}}
"""


def picked(tmp_path: Path, picker: str, application: str = "wc", times: int = 1) -> list[str]:
    text = "applications: {first: {command_template: a}, wc: {command_template: b}}" + DESTINATIONS
    loaded = configured(tmp_path, text + f"destination_picker: {picker}")
    context = pickers.PickerContext(loaded.applications, loaded.destinations, tmp_path)
    pick = pickers.load(loaded, tmp_path / "config.yaml")
    return [pick(tmp_path, application, User("me", ["gold"]), context) for _ in range(times)]


@pytest.mark.parametrize("module", ["flows.pickers", "bartender.picker"])
def test_built_in_pickers(tmp_path: Path, module: str) -> None:
    assert picked(tmp_path, f"{module}:pick_first") == ["wc"]
    assert picked(tmp_path, f"{module}:pick_byname") == ["wc"]
    assert picked(tmp_path, f"{module}:pick_byindex") == ["other"]
    assert sorted(picked(tmp_path, f"{module}:pick_round", times=4)) == ["other", "other", "wc", "wc"]


def test_ones_own_picker_is_found_beside_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def by_role(job_dir, application_name, submitter, context):\n"
        "    return 'other' if 'gold' in submitter.roles else 'wc'\n"
    )
    assert picked(tmp_path, "mine.py:by_role") == ["other"]


def test_pick_byname_without_such_a_destination(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        picked(tmp_path, "flows.pickers:pick_byname", application="first")


@pytest.mark.parametrize(
    "picker", ["nothing", "no.such.module:x", "flows.pickers:no_such", "no.py:x", "flows.pickers:__doc__"]
)
def test_a_picker_that_cannot_be_used(tmp_path: Path, picker: str) -> None:
    with pytest.raises(ConfigurationError, match=r"config.yaml: destination_picker: ") as caught:
        picked(tmp_path, picker)
    assert "\n" not in str(caught.value)


def test_a_scheduler_and_a_filesystem_have_to_reach_the_same_files(tmp_path: Path) -> None:
    destination = {
        "scheduler": {"type": "memory"},
        "filesystem": {"type": "s3", "block": "store", "bucket": "jobs"},
    }
    keys = {"applications": {"wc": {"command_template": "wc"}}, "destinations": {"cloud": destination}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(keys))
    with pytest.raises(ConfigurationError, match="memory, which needs a filesystem that has directories"):
        load(tmp_path / "config.yaml")
