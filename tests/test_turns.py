"""Tests stay together by what is in their node ids."""

import pytest

from tests.turns import scope_of


@pytest.mark.parametrize(
    ("node", "scope"),
    [
        ("tests/a/test_b.py::test_c", "tests/a/test_b.py"),
        ("tests/a/test_b.py::TestD::test_c[1]", "tests/a/test_b.py"),
        ("tests/a/test_b.py::test_c[me@example.org]", "tests/a/test_b.py"),
        ("tests/a/test_b.py::test_c@server", "server"),
        ("tests/a/test_b.py::test_c[me@example.org]@server", "server"),
    ],
)
def test_a_group_goes_before_a_file(node: str, scope: str) -> None:
    assert scope_of(node) == scope
