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


@pytest.mark.parametrize(
    ("template", "command"),
    [
        ("run{% if x %} --x {{ x }}{% endif %}", "run"),
        ("run{% if x is defined %} --x {{ x }}{% endif %}", "run"),
        ("run{% if not x %} --no-x{% endif %}", "run --no-x"),
        ("run {{ x }}.", "run ."),
        ("run {{ x|q }}", "run ''"),
        ("run {{ x|default('a b') }}", "run a b"),
        ("run {{ x|default('a b')|q }}", "run 'a b'"),
        ("run {{ x|default }}.", "run ."),
        ("run {{ '--x' if x }}", "run "),
        ("run {{ x ~ '.txt' }}", "run .txt"),
        ("run{% for each in x %} {{ each }}{% endfor %}", "run"),
        ("run {{ x == 'a' }}", "run false"),
    ],
)
def test_what_was_not_sent_is_false_and_nothing(template: str, command: str) -> None:
    assert command_templates.render(template, {}) == command


@pytest.mark.parametrize("template", ["{{ x.y }}", "{{ x + 1 }}", "{{ x > 1 }}", "{{ x() }}"])
def test_nothing_can_be_made_of_what_was_not_sent(template: str) -> None:
    with pytest.raises(InvalidUpload, match="'x' is undefined"):
        command_templates.render(template, {})


def test_lines_of_blocks_alone_are_no_lines_of_the_command() -> None:
    template = "run \\\n{% if fast %}\n  --fast \\\n  {% endif %}\n  {# or not #}\nend\n"
    assert command_templates.render(template, {"fast": True}) == "run \\\n  --fast \\\nend"
    assert command_templates.render(template, {}) == "run \\\nend"


XS = ["a b", "c", "'"]


@pytest.mark.parametrize(
    ("template", "command"),
    [
        ("{{ xs|map('q')|join(' ') }}", """'a b' c ''"'"''"""),
        ("{{ xs|join(' ') }}", """'a b' c ''"'"''"""),
        ("{{ xs|q }}", """'a b' c ''"'"''"""),
        ("{{ xs }}", """'["a b", "c", "'"'"'"]'"""),
        ("{{ xs|join(',') }}", """'a b',c,''"'"''"""),
        ("{{ xs|map('q')|list|first }}", "'a b'"),
        ("{{ xs[:0]|q }}.", "."),
        ("{{ xs|map('upper')|q }}", """'A B' C ''"'"''"""),
        ("{{ (x|q) ~ '.txt' }}", "'a b'.txt"),
        ("{{ x ~ '.txt' }}", "'a b'.txt"),
        ("{{ (x ~ '.txt')|q }}", "'a b.txt'"),
        ("{{ x|q|replace(' ', '_') }}", "a_b"),
        ("{{ (xs|join(' '))|replace(' ', ',') }}", """a,b,c,''"'"''"""),
        ("{{ x|q|upper }} {{ x|q|trim }} {{ x|q|length }}", "'A B' 'a b' 3"),
        ("{{ '--x %s'|format(x) }}", "--x 'a b'"),
        ("{{ '--n %05.2f%%' % 2 }}", "--n 02.00%"),
        ("{{ '-a -b' if x else '' }}", "-a -b"),
        ("{% set flags = {'a b': '-a -b'} %}run {{ flags[x] }}", "run -a -b"),
        ("{% set name %}--x {{ x }}{% endset %}run {{ name }}", "run --x 'a b'"),
        ("{{ x|safe }} {{ x|e }}", "'a b' 'a b'"),
        ("{{ n|q }} {{ n ~ 1 }} {{ none|q }}", "2.5 2.51 ''"),
        ("\"{{ x }}\" '{{ x }}'", "\"\"'a b'\"\" '''a b'''"),
    ],
)
def test_quotes_are_put_once(template: str, command: str) -> None:
    assert command_templates.render(template, {"x": "a b", "xs": XS, "n": 2.5}) == command


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{ a }} {% if b %}{% endif %}", "ab"),
        ("{% set a = 1 %}{{ a }}", ""),
        ("{% if b %}{% set a = 1 %}{% endif %}{{ a }}", "b"),
        ("{% for a in b %}{{ a }} {{ loop.index }}{% endfor %}", "b"),
        ("{% macro a(c) %}{{ c }}{% endmacro %}{{ a(b) }} {{ range(3)|join }}", "b"),
        ("{{ b.a }}", "b"),
    ],
)
def test_variables(template: str, names: str) -> None:
    assert command_templates.variables(template) == set(names)


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
