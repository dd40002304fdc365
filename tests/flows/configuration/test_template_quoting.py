"""Whatever visitors send, however a template combines it: shells see it whole, and execute none of it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flows.configuration import command_templates
from flows.errors import InvalidUpload

SHELLS = ["/bin/sh", "/bin/bash", "/bin/dash"]
EXECUTED = "executed"  # a file: commands cannot be found, but a redirection makes one

HOSTILE = [
    f"$(:>{EXECUTED})",
    f"`:>{EXECUTED}`",
    f"';:>{EXECUTED};'",
    f'";:>{EXECUTED};"',
    f"'\"';:>{EXECUTED};'\"'",
    f"\\';:>{EXECUTED};#",
    f"\n:>{EXECUTED}\n",
    f"E\n:>{EXECUTED}\n",
    f")\n:>{EXECUTED}\n(",
    f"}};:>{EXECUTED};{{",
    f"esac\n:>{EXECUTED}\n",
    f"))\n:>{EXECUTED}\n",
    f"|:>{EXECUTED}",
    f"a[$(:>{EXECUTED})]",
    f"%s$(:>{EXECUTED})%",
    "$HOME",
    "~",
    "*",
    "-n",
    "#",
    "\\",
    "\\n",
    "!!",
    "%s %d",
    "",
    " ",
]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
VALUES = st.one_of(
    st.text(CHARACTERS),
    st.sampled_from(HOSTILE),
    st.text(st.sampled_from(list("'\"\\$`(){}<>|&;#!*?[]~=% \n\tab"))),
    st.builds(
        "{}{}{}".format, st.text(CHARACTERS, max_size=3), st.sampled_from(HOSTILE), st.text(max_size=3)
    ),
).filter(lambda text: "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text))


def run(shell: str, command: str, directory: Path) -> "subprocess.CompletedProcess[bytes]":
    """Run a command that finds no program; fail if it made the file."""
    completed = subprocess.run(
        [shell, "-c", command],
        cwd=directory,
        env={"PATH": "/nowhere", "LC_ALL": "C.UTF-8", "HOME": "/nowhere"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
    )
    assert not list(directory.iterdir()), command
    return completed


def words(shell: str, command: str, directory: Path) -> list[str]:
    completed = run(shell, command, directory)
    assert (completed.returncode, completed.stderr) == (0, b""), command
    return completed.stdout.decode().split("\0")[:-1]


# Expressions of which some word has the value whole; A and B are such expressions.
LEAVES = [
    "x",
    "x|q",
    "n.x",
    "n['x']",
    "xs[0]",
    "xs|first",
    "absent|default(x)",
    "absent|d(x)|q",
    "absent or x",
]
COMBINED = [
    "A|q",
    "A|q|q",
    "A|string",
    "A ~ '.txt'",
    "(A|q) ~ '.txt'",
    "'--name=' ~ A",
    "'a b ' ~ A",
    "A + '.txt'",
    "'.txt' + A",
    "A ~ B",
    "A ~ 1 ~ absent ~ true",
    "A|default('none')",
    "A|default('none', true) ~ A",
    "A if true else 'other'",
    "'%s'|format(A)",
    "'%s %05.1f %%'|format(A, 1)",
    "'+%s+' % A",
    "'%(a)s' % {'a': A}",
    "A ~ (A % ())|replace('%', '') if '%' not in A else A",
    "'{}-{}'.format(A, B)",
    "A.format(1) if '{' not in A and '}' not in A else A",
    "[A]|join",
    "[A, B]|join(' ')",
    "[A, 'a', 1]|map('q')|join(' ')",
    "' '.join([A, B])",
    "[{'a': A}]|join(' ', attribute='a')",
    "['a', 'b']|join(A)",
    "[A]|map('string')|list|last",
    "[A]|q",
    "xs|q ~ A",
    "xs|map('q')|join(' ') ~ A",
    "A|replace('\x01\x02', '$(')",
    "(A ~ ' -- ')|replace(' -- ', 'a b')",
    "'a -- b'|replace(' -- ', A)",
    "(A ~ (A|e) ~ (A|safe) ~ (A|tojson) ~ (A|upper) ~ (A|q|lower) ~ (A|trim) ~ (A|length) ~ A[1:] ~ A * 2)",
    "(A ~ (A|q|title) ~ (A|q|indent) ~ (A|q|wordwrap(3)) ~ (A|q|truncate(3)) ~ (A|q|list) ~ (A|q|reverse))",
    "(A ~ A.split('a')|join(' ') ~ (A|q).strip() ~ (A|urlencode) ~ (A|q|center(9)) ~ (A|q).partition('b')|q)",
    "echo(A)",
]


def combined(outer: str, a: str, b: str) -> str:
    return re.sub("[AB]", lambda place: f"({a if place[0] == 'A' else b})", outer)


EXPRESSIONS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.builds(combined, st.sampled_from(COMBINED), inner, inner),
    max_leaves=4,
)
# How an expression is written: alone, in the template's quotes, and in Jinja's blocks.
WRITTEN = [
    "{{ E }}",
    "--file={{ E }}",
    "{{ E }}{{ E }}",
    '"{{ E }}"',
    "'{{ E }}'",
    'a"b {{ E }}"c',
    "'it is {{ E }}!'",
    '"it\'s $0"{{ E }}',
    "\\\\{{ E }}",
    '"$(printf %s {{ x|q }}; printf .)"',
    '"$(printf %s "{{ x|q }}"; printf .)"',
    '"$( (printf %s {{ x|q }}; printf .) )"',
    "{% if E is defined %}{{ E }}{% endif %}",
    "{% for each in [E, E] %}{{ each }} {% endfor %}",
    "{% for each in [E] %}'{{ each }}' {% endfor %}",
    "{% set y = E %}{{ y }}",
    "{% set y %}--a {{ E }}{% endset %}{{ y }}",
    '{% set y %}--a {{ E }}{% endset %}"{{ y|q }}"',
    "{% macro m(a) %}{{ a }} {{ a|q }}{% endmacro %}{{ m(E) }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ E }}{% endcall %}",
    "{% filter q %}a b{{ E }}{% endfilter %}",
    "{% filter string %}a b{{ E }}{% endfilter %}",
    "{% filter replace('\x01\x02', '') %}a b{{ E }}{% endfilter %}",
    "{% with y = E %}{{ y }}{% endwith %}",
    "# $(a comment's `\n\n printf '%s\\0' {{ E }}",
]
ECHO = "{% macro echo(it) %}{{ it }}{% endmacro %}"


def values(value: str) -> dict[str, Any]:
    return {"x": value, "xs": [value, "other"], "n": {"x": value}}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, expression=EXPRESSIONS, written=st.sampled_from(WRITTEN), shell=st.sampled_from(SHELLS))
@example(value="$(:>executed)", expression="x", written='"{{ E }}"', shell="/bin/sh")
@example(value="$(:>executed)", expression="x", written="'{{ E }}'", shell="/bin/bash")
@example(value="a b", expression="xs|map('q')|join(' ')", written="{{ E }}", shell="/bin/dash")
def test_words_have_values_whole(
    value: str, expression: str, written: str, shell: str, tmp_path: Path
) -> None:
    template = f"{ECHO}printf '%s\\0' {written.replace('E', f'({expression})')}"
    command = command_templates.render(template, values(value))
    found = words(shell, command, tmp_path)
    assert any(value in word for word in found), (template, command, found)


SOUP = [
    *("'", '"', "`", "\\", "$", "$(", ")", "(", "((", "))", "$((", "${a", "}", "#", " ", "\n", "<<E", "<<<"),
    *(
        "<<'E'",
        "$'",
        '$"',
        "case a in a)",
        "esac",
        ";;",
        "case",
        "a",
        ";",
        "printf %s ",
        "E",
        "&&",
        "|",
        "[[",
    ),
    *["{{ x }}"] * 8,
]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.sampled_from([text for text in HOSTILE if EXECUTED in text]),
    template=st.lists(st.sampled_from(SOUP), max_size=12).map("".join),
    shell=st.sampled_from(SHELLS),
)
def test_nothing_is_executed_wherever_a_value_stands(
    value: str, template: str, shell: str, tmp_path: Path
) -> None:
    """The template may be nonsense, and then the shell says so, or we do."""
    try:
        command = command_templates.render(
            "{% raw %}{% endraw %}" + template.replace("{#", "{ #"), {"x": value}
        )
    except InvalidUpload:
        return
    run(shell, command, tmp_path)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("echo `echo {{ x }}`", r"in backquotes; write \$\(…\) instead"),
        ("echo ${a:-{{ x }}}", "give it to a variable"),
        ("echo $(( {{ x }} + 1 ))", "is no number"),
        ("echo # {{ x }}", "in a comment"),
        ("cat <<E\n{{ x }}\nE\n", "here-document.+printf"),
        (r"echo \{{ x }}", "directly after a backslash"),
        ("echo ${{ x }}", r"or a \$"),
        ('echo "${{ x }}"', r"or a \$"),
        ("echo $'{{ x }}'", "not every shell reads alike"),
        ("echo $(case a in a) echo {{ x }};; esac)", "in a case of a subshell"),
        ("echo \\ #'a\nb {{ x }}'", "not every shell reads alike"),
        ("echo a\\\n#'a\nb {{ x }}'", "not every shell reads alike"),
        ("echo $(echo)#'a\nb {{ x }}'", "not every shell reads alike"),
        ("echo $[ {{ x }} ]", "not every shell reads alike"),
        ('echo "$[ {{ x }} ]"', "not every shell reads alike"),
    ],
)
def test_where_no_quotes_help(template: str, said: str) -> None:
    with pytest.raises(InvalidUpload, match=f"its template has a value .*{said}"):
        command_templates.render(template, {"x": "a b"})


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "written", ["{{ n }}>&1", "{{ n }}</dev/null", "$(printf {{ n }}</dev/null)", '"{{ n }}>"']
)
def test_a_number_says_not_what_is_redirected(shell: str, written: str, tmp_path: Path) -> None:
    [word] = words(shell, command_templates.render(f"printf '%s\\0' {written}", {"n": 2}), tmp_path)
    assert word.strip(">") == "2"


def test_a_comment_after_a_line_that_goes_on() -> None:
    template = "a && \\\n# it's a comment\nb {{ x }}"
    assert command_templates.render(template, {"x": "a b"}).endswith("b 'a b'")


@pytest.mark.parametrize("shell", SHELLS)
def test_numbers_stand_almost_anywhere(shell: str, tmp_path: Path) -> None:
    template = "printf '%s\\0' $(( ({{ n }} + 1) * 2 )) `printf %s {{ n }}` # {{ n }}"
    assert words(shell, command_templates.render(template, {"n": 4}), tmp_path) == ["10", "4"]
