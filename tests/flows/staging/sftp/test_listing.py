"""Listings of what is on the other machine."""

import pytest

from flows.staging import listing
from flows.staging.listing import Entry, stays_inside


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/../../b", "", ".", "a//b", "a/./b"])
def test_listings_with_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        listing.parse(f"f 644 1 1.0 1.0 1 {name}\0\0".encode())


def test_what_is_below_a_link_is_not_taken() -> None:
    there = {"a": Entry("l", target="b"), "a/file": Entry("f"), "b/file": Entry("f"), "c": Entry("f")}
    assert set(listing.consistent(there)) == {"a", "c"}


def test_listings_survive() -> None:
    there = {
        "a b\nc": Entry("f", 3, 1_700_000_000_123_456_789, "1.5 7", True),
        "d": Entry("d", changed=" "),
        "l": Entry("l", changed=" ", target="a b"),
        "old": Entry("f", 3, -1_500_000_000, " "),
    }
    assert listing.parse(listing.write(there)) == there
    assert listing.parse(b"") == {}


@pytest.mark.parametrize(
    ("name", "target", "stays"),
    [
        ("a", "b", True),
        ("a", "b/c", True),
        ("d/a", "../b", True),
        ("a", "../b", False),
        ("d/a", "../../b", False),
        ("d/a", "..", True),
        ("a", "", False),
        ("a", "/b", False),
        ("d/e/a", "./.././../b", True),
        ("a", "d/../b", False),
    ],
)
def test_links(name: str, target: str, stays: bool) -> None:
    assert stays_inside(name, target) is stays
