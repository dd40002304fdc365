"""What a job is called: as the file that was sent for it, by which its submitter knows it."""

import re
import unicodedata
from urllib.parse import unquote_to_bytes

LONGEST = 200  # characters

# A parameter of a header: name, and value with or without quotes.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)  # RFC 8187
_JOINERS = "\u200c\u200d"  # letters of some scripts, and emoji, are written with these


def sent_name(disposition: str) -> str | None:
    """Return the name of the file that a Content-Disposition tells, as it can be shown, or None.

    ``disposition`` is the header's bytes, read as ISO-8859-1. ``filename*`` goes before ``filename``, whose
    bytes are UTF-8 from browsers and what they were read as from others.
    """
    found = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(disposition)}
    for text in (_extended(found.get("filename*", "")), _plain(found.get("filename", ""))):
        if name := as_job_name(text):
            return name
    return None


def as_job_name(path: str) -> str:
    """Return the last part of a path as a name that fits in one line and looks like what it is; maybe empty.

    Left out is what cannot be seen: control characters, and those that turn the direction of writing, by
    which a name could look like another one.
    """
    name = " ".join(re.split(r"[/\\]", path)[-1].split())
    name = "".join(c for c in name if c in _JOINERS or unicodedata.category(c) not in {"Cc", "Cf", "Cs"})
    name = name[:LONGEST].strip(" " + _JOINERS)
    return name if name.strip(".") else ""


def _plain(value: str) -> str:
    content = re.sub(r'\\(["\\])', r"\1", value.strip(' "')).encode("iso-8859-1")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("iso-8859-1")


def _extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value.strip())
    if match is None:
        return ""
    try:
        return unquote_to_bytes(match[2].encode("iso-8859-1")).decode(match[1])
    except UnicodeDecodeError:
        return ""
