"""What the how-tos in docs/ show, as files."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def write(page: str, directory: Path) -> Path:
    """Write the Python file of a page, under the name in its first line."""
    [(name, content)] = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", _text(page), re.M | re.S)
    directory.mkdir(parents=True, exist_ok=True)
    (file := directory / str(name)).write_text(content)
    return file


def block(page: str, language: str) -> str:
    """Return the page's only block in that language."""
    [content] = re.findall(rf"^```{language}\n(.*?)^```$", _text(page), re.M | re.S)
    return str(content)


def _text(page: str) -> str:
    return (DOCS / page).read_text()
