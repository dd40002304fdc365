"""Who is next at the slots of this machine."""

from collections.abc import Iterable

from flows.local.line import Line


def line_of(*submitters: str) -> Line:
    """Return a line of commands that are named by their submitter and place in the line."""
    line = Line()
    for number, submitter in enumerate(submitters):
        line.add(f"{submitter}{number}", submitter)
    return line


def all_of(line: Line) -> Iterable[str]:
    """Yield whom a single slot is given to, again and again."""
    while line:
        token, submitter = line.next()
        yield token
        line.end(submitter)


def test_submitters_take_turns_at_a_single_slot() -> None:
    assert list(all_of(line_of("a", "a", "a", "b", "c", "b"))) == ["a0", "b3", "c4", "a1", "b5", "a2"]


def test_who_has_the_least_running_is_next() -> None:
    line = line_of("a", "a", "a", "a", "b", "b")
    assert [line.next()[0] for _ in range(3)] == ["a0", "b4", "a1"]
    line.end("a")
    line.end("a")
    assert [line.next()[0] for _ in range(3)] == ["a2", "b5", "a3"]


def test_who_comes_again_while_having_a_slot_waits_for_the_others() -> None:
    line = line_of("a", "a")
    assert line.next() == ("a0", "a")
    line.add("b", "b")
    line.end("a")
    assert line.next() == ("b", "b")
    line.add("b again", "b")
    line.end("b")
    assert line.next() == ("a1", "a")


def test_what_waits_no_more_is_passed_by() -> None:
    line = line_of("a", "a", "b")
    line.remove("a0")
    line.remove("b2")
    line.remove("b2")
    assert "b2" not in line
    assert list(all_of(line)) == ["a1"]


def test_nothing_is_kept_of_who_has_nothing_here() -> None:
    line = line_of("a", "b")
    line.begin("c")
    list(all_of(line))
    line.end("c")
    assert not any(vars(line)[name] for name in ("_waiting", "_submitters", "_begun", "_last_turns"))


class Token(str):
    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Token.compared += 1
        return super().__eq__(other)


def test_who_leaves_is_not_looked_for_among_all_that_wait() -> None:
    """Thousands may be cancelled at once."""
    line, tokens = Line(), [Token(number) for number in range(100)]
    for token in tokens:
        line.add(token, "a")
    for token in reversed(tokens):
        line.remove(token)
    assert not len(line)
    assert Token.compared < len(tokens)
