import subprocess

import pytest

from flows.configuration import command_templates
from flows.errors import ConfigurationError, InvalidUpload


@pytest.mark.parametrize(
    "template", ["echo {{ x }}", "echo {{ x|q }}", "echo {{ x|q|q }}", "echo {{x|trim}}"]
)
@pytest.mark.parametrize("value", ["a b", "$(id)", "'; id; '", "line\nline", "`id`", "ü"])
def test_values_reach_the_command_as_they_are(template: str, value: str) -> None:
    command = command_templates.render(template, {"x": value})
    assert subprocess.run(["/bin/sh", "-c", command], capture_output=True).stdout.decode() == value + "\n"


def test_a_template_opts_out_of_quoting() -> None:
    assert command_templates.render("echo {{ x|unquoted }}", {"x": "a b"}) == "echo a b"


def test_values_are_written_as_json_does() -> None:
    assert command_templates.render("{{ a }} {{ b }} {{ c }}", {"a": True, "b": 2, "c": 0.5}) == "true 2 0.5"


def test_conditions_see_plain_values() -> None:
    assert command_templates.render("run{% if fast %} --fast{% endif %}", {"fast": False}) == "run"


def test_a_missing_value_is_the_visitors_mistake() -> None:
    with pytest.raises(InvalidUpload, match="'x' is undefined"):
        command_templates.render("echo {{ x }}", {})


@pytest.mark.parametrize(
    "template", ["{{ x + 1 }}", "{{ x * 10 ** 18 }}", "{{ x[1:2:0] }}", "{{ 1 / (x|length - 1) }}"]
)
def test_values_that_a_template_cannot_work_with(template: str) -> None:
    with pytest.raises(InvalidUpload, match=r"cannot be made from what was sent: .+"):
        command_templates.render(template, {"x": "a"})


def test_objects_and_arrays_are_written_as_json_does() -> None:
    assert (
        command_templates.render("{{ x|unquoted }}", {"x": {"a": [True, None, "ü"]}})
        == '{"a": [true, null, "ü"]}'
    )


def test_nul_is_refused() -> None:
    with pytest.raises(InvalidUpload, match="NUL"):
        command_templates.render("echo {{ x }}", {"x": "a\0b"})


def test_a_template_cannot_reach_into_python() -> None:
    with pytest.raises(InvalidUpload):
        command_templates.render("{{ x.__class__.__mro__ }}", {"x": "a"})


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(ConfigurationError, match="line 2"):
        command_templates.parse("ok\n{% if %}")
