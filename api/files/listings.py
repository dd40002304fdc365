"""What is in a job's directory, as a tree."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import SkipJsonSchema

from api.files.browse import Entry, JobDirectory
from api.files.open_file import NotThere
from api.files.paths import Names, parts, shown
from api.schemas import without_defaults

DEEPEST = 100
"""Levels that one listing shows at most; what is below them can be asked for."""


class DirectoryItem(BaseModel):
    """A file, a directory or something else in a job's directory. Links are followed.

    ``path`` is relative to the job's directory. ``children`` are sorted by name, and left out where there are
    none and where they are deeper than was asked for.
    """

    model_config = ConfigDict(json_schema_extra=without_defaults)

    name: str
    path: str
    is_dir: bool
    is_file: bool
    children: list["DirectoryItem"] | SkipJsonSchema[None] = None


def listing(root: Path, path: str, max_depth: int) -> bytes:
    """Return the DirectoryItem of a directory as JSON; raise NotThere. Waits for the disk.

    The items are no objects of that class: to make and check ten thousand of them takes longer than the rest.
    """
    directory = JobDirectory(root)
    found = directory.find_directory(path)
    names = tuple(map(shown, parts(path)))
    item = _item(names, is_dir=True, is_file=False)
    _Lister(directory).add(item, found.names, names, min(max_depth, DEEPEST))
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


def _item(names: Names, *, is_dir: bool, is_file: bool) -> dict[str, Any]:
    name = names[-1] if names else ""
    return {"name": name, "path": "/".join(names) or ".", "is_dir": is_dir, "is_file": is_file}


@dataclass(frozen=True, slots=True)
class _Lister:
    directory: JobDirectory
    below_link: bool = False

    def add(self, item: dict[str, Any], place: Names, names: Names, depth: int) -> None:
        """Add the children; ``place`` is where the item really is, ``names`` where the visitor sees it."""
        children = [
            self._child(entry, (*names, shown(entry.name)), depth) for entry in self.directory.entries(place)
        ]
        if children:
            item["children"] = children

    def _child(self, entry: Entry, names: Names, depth: int) -> dict[str, Any]:
        child = _item(names, is_dir=entry.is_dir, is_file=entry.is_file)
        # Links may make loops, and of a few of them there are endless ways. So one on each way is enough.
        if depth > 1 and entry.found and entry.is_dir and not (entry.is_link and self.below_link):
            below = _Lister(self.directory, self.below_link or entry.is_link)
            try:
                below.add(child, entry.found.names, names, depth - 1)
            except NotThere:
                return child  # removed meanwhile, or not readable
        return child
