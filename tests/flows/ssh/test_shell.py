"""What follows from the small script that looks at a shell, run as various logins would."""

import subprocess

import pytest

from flows.ssh.marks import Mark
from flows.ssh.shell import LOOK, READ, Shell, judged


def looked_at(around: str = '/bin/sh -c "$1"', *, input: bytes = READ, script: str = LOOK) -> Shell:
    """``around`` is what a login makes of its command, which is $1."""
    mark = Mark()
    command = ["/bin/sh", "-c", around, "sh", mark.around(script)]
    done = subprocess.run(command, input=input, capture_output=True, check=False)
    return judged(mark, done.stdout, done.stderr, done.returncode)


def test_a_usual_shell() -> None:
    assert looked_at() == Shell(streams=True)


def test_one_that_greets() -> None:
    assert looked_at('printf Welcome; exec /bin/sh -c "$1"') == Shell(streams=True, greeting=b"Welcome")


@pytest.mark.parametrize(
    "around",
    ['/bin/sh -c "$1"; code=$?; echo Bye; exit $code', '/bin/sh -c "$1"; exit 0', '/bin/sh -c "$1" | cat'],
)
def test_one_that_is_no_good_for_streams(around: str) -> None:
    assert looked_at(around) == Shell(streams=False)


def test_one_without_the_tools_of_gnu() -> None:
    assert looked_at(script="tar() { echo bsdtar; }\n" + LOOK) == Shell(streams=False)


@pytest.mark.parametrize(
    ("around", "text"),
    [
        ("echo 'This account is not available.'", '"This account is not available."'),
        ('eval "$1" | sed s/here/there/', "changes the text"),
        ('read -r account; /bin/sh -c "$1"', "reads what is sent"),
        ('/bin/sh -c "$1" 2>&1', "outputs and errors"),
        ('/bin/sh -c "$1" 2>/dev/null', "outputs and errors"),
        ('PATH=/nowhere /bin/sh -c "$1"', "lacks the commands cat, chmod"),
        ("exit 1", "it says nothing"),
    ],
)
def test_what_is_wrong_is_said(around: str, text: str) -> None:
    assert text in (looked_at(around).trouble or "")
