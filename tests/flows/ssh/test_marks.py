"""What a command prints, told from what is around it."""

import subprocess

import pytest

from flows.ssh.marks import Answer, Mark, readable

AROUND = [b"", b"Welcome!\n", b"\x1b]0;login1\x07", b"\x1b[31mquota exceeded", b"-- notes\n4\n", b"\xff\xfe"]


def run(script: str) -> tuple[bytes, bytes]:
    done = subprocess.run(
        ["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("before", AROUND)
@pytest.mark.parametrize("after", AROUND)
def test_an_answer_among_what_others_print(before: bytes, after: bytes) -> None:
    mark = Mark()
    stdout, stderr = run(mark.around("printf out; printf err >&2; exit 3"))
    answer = mark.answer(before + stdout + after, before + stderr + after)
    assert answer == Answer(3, b"out", b"err", farewell=after)


@pytest.mark.parametrize("printed", AROUND)
def test_what_others_print_is_no_answer(printed: bytes) -> None:
    assert Mark().answer(printed, printed) is None


def test_an_empty_answer_is_one() -> None:
    mark = Mark()
    assert mark.answer(*run(mark.around("true"))) == Answer(0, b"", b"")


@pytest.mark.parametrize("command", ["exec printf x", "printf x; exit 0", "set -e; printf x", "printf x #"])
def test_commands_may_end_as_they_like(command: str) -> None:
    mark = Mark()
    assert mark.answer(*run(mark.around(command))) == Answer(0, b"x", b"")


def test_the_whole_answer_or_none() -> None:
    mark = Mark()
    stdout, stderr = run(mark.around("echo one; echo two"))
    assert all(mark.answer(stdout[:end], stderr) is None for end in range(len(stdout) - 1))


@pytest.mark.parametrize("how", ["set -v", "set -x"])
def test_a_shell_that_prints_each_command(how: str) -> None:
    """As a login may have set it: the script itself, before it is run, is no answer."""
    mark = Mark()
    script = mark.around("echo out")
    stdout, stderr = run(f"{how}\n{script}")
    answer = mark.answer(script.encode() + stdout, script.encode() + stderr)
    assert answer is not None
    assert (answer.status, answer.stdout) == (0, b"out\n")


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (b"", "nothing"),
        (b"\x1b]0;login1\x07", "nothing"),
        (b"a\n\x1b[1;31mThis account is not available.\x1b[0m\r\n\n", '"This account is not available."'),
        (b"\x1b]0;unended", "nothing"),
        (b"caf\xe9", '"caf\ufffd"'),
    ],
)
def test_what_was_printed_in_a_message(printed: bytes, text: str) -> None:
    assert readable(printed) == text
