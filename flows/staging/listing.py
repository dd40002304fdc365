"""What is in a directory of another machine, and what of it may be made here."""

from collections.abc import Iterable
from dataclasses import dataclass

from flows.archives.contents import shown
from flows.errors import StagingFailed

MAX_ENTRIES = 1_000_000
MAX_BYTES = 512 << 20
"""Of a listing. Nobody trusts the other machine to send a short one."""

FORMAT = r"%y %m %s %T@ %C@ %i %P\0%l\0"
"""Of ``find -printf``: kind, mode, size, times of change of content and of all else, inode; name; target."""

DIRECTORY, FILE, LINK = "dfl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory. ``changed`` is whatever changes along with it, ``mtime`` in nanoseconds."""

    kind: str
    size: int = 0
    mtime: int = 0
    changed: str = ""
    executable: bool = False
    target: str = ""


Listing = dict[str, Entry]
"""By relative path. Bytes of names that are no UTF-8 are as ``os.fsdecode`` has them."""


def parse(data: bytes) -> Listing:
    """Read what ``find`` has written; leave away what is neither file, directory nor link."""
    parts = data.decode("utf-8", "surrogateescape").split("\0")
    if parts.pop() or len(parts) % 2:
        raise ValueError("the listing ends in its middle")
    if len(parts) > 2 * MAX_ENTRIES:
        raise StagingFailed(f"There are more than {MAX_ENTRIES} files; make an archive of them in the job.")
    listing = {}
    for record, target in zip(parts[::2], parts[1::2], strict=True):
        kind, mode, size, mtime, ctime, inode, name = record.split(" ", 6)
        if kind in {DIRECTORY, FILE, LINK}:
            check_name(name)
            listing[name] = Entry(
                kind,
                size=int(size) if kind == FILE else 0,
                mtime=nanoseconds(mtime),
                changed=f"{ctime} {inode}",
                executable=bool(int(mode, 8) & 0o100),
                target=target,
            )
    return listing


def write(listing: Listing) -> bytes:
    """Return a listing that was made otherwise in the form that ``parse`` reads.

    Raises ValueError for what would be read as something else.
    """
    records = []
    for name, entry in listing.items():
        if "\0" in name or "\0" in entry.target:
            raise ValueError(f"the listing has the name {name!r} with the target {entry.target!r}")
        seconds, rest = divmod(entry.mtime, 10**9)
        ctime, _, inode = entry.changed.partition(" ")
        mode = "700" if entry.executable else "600"
        records.append(
            f"{entry.kind} {mode} {entry.size} {seconds}.{rest:09} {ctime} {inode} {name}\0{entry.target}\0"
        )
    return "".join(records).encode("utf-8", "surrogateescape")


def nanoseconds(text: str) -> int:
    """Return a time that ``find`` has written in seconds."""
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))


def check_name(name: str) -> None:
    """Raise ValueError for a relative path that leads elsewhere."""
    if any(part in {"", ".", ".."} for part in name.split("/")) or "\0" in name:
        raise ValueError(f"the listing has the name {name!r}")


def consistent(listing: Listing) -> Listing:
    """Return the entries whose parents are directories too, parents first."""
    kept: Listing = {}
    for name in sorted(listing, key=lambda name: name.split("/")):
        parent = name.rpartition("/")[0]
        if not parent or (parent in kept and kept[parent].kind == DIRECTORY):
            kept[name] = listing[name]
    return kept


def check_tree(listing: Listing) -> None:
    """Raise StagingFailed unless each name is in a directory of the listing: so it leads through no link."""
    for name in listing:
        parent = name.rpartition("/")[0]
        if parent and (parent not in listing or listing[parent].kind != DIRECTORY):
            raise StagingFailed(f"The outputs have {shown(name)} in what is no directory; make them again.")


def stays_inside(name: str, target: str) -> bool:
    """Whether a link of this name leads to somewhere below the top, whatever other such links there are.

    So ``..`` may only be at its beginning: what it means after a link's name depends on that link.
    """
    parts = [part for part in target.split("/") if part not in {"", "."}]
    up = 0
    while up < len(parts) and parts[up] == "..":
        up += 1
    leads_out = target.startswith("/") or up > name.count("/") or ".." in parts[up:]
    return target != "" and "\0" not in target and not leads_out


def total_size(entries: Iterable[Entry]) -> int:
    """Return the bytes of all files."""
    return sum(entry.size for entry in entries)
