"""What the documentation names is there, and the house is as docs/design.md draws it."""

import re
import tomllib
from pathlib import Path

import pytest

from tests import howto

CHECKOUT = Path(__file__).parent.parent
PAGES = [CHECKOUT / "README.md", *sorted(howto.DOCS.glob("*.md"))]
PARTS = ("api", "deployments", "flows", "blocks", "tests", "alembic", "docs")
SHOWN = {"nice.py", "scratch.py", "sizes.py"}
"""Files that how-tos have one make."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_are_named_are_there(page: Path) -> None:
    named = re.findall(rf"(?<![\w/.])(?:{'|'.join(PARTS)})/[\w./-]*\w", page.read_text())
    gone = [path for path in named if Path(path).name not in SHOWN and not (CHECKOUT / path).exists()]
    assert gone == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_that_are_named_are_there(page: Path) -> None:
    there = {path.name for part in PARTS for path in (CHECKOUT / part).rglob("*.py")}
    assert set(re.findall(r"(?<![\w.])\w+\.py\b", page.read_text())) - SHOWN - there == set()


@pytest.mark.parametrize("part", ["api", "deployments", "flows"])
def test_the_house_is_as_its_contracts_say(part: str) -> None:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == [part]]
    floors = [sorted(layer.split(" | ")) for layer in layers]
    assert drawn(part) == floors


def drawn(part: str) -> list[list[str]]:
    """Return the rooms of a part as they are drawn, floor by floor."""
    picture = (howto.DOCS / "design.md").read_text().partition("```\n")[2].partition("```")[0]
    [lines] = re.findall(rf"^{part}/ .*\n((?:[├└].*\n)*)", picture, re.M)
    rooms = [re.match(r"[├└]── ((?:\S+(?:/|\.py) ?)+)", line) for line in lines.splitlines()]
    return [
        sorted(name.rstrip("/").removesuffix(".py") for name in found[1].split()) for found in rooms if found
    ]
