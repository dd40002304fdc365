"""Scripts of ours as one command line that every login shell understands.

sshd gives the line to the account's login shell, whichever that is. csh ends a quoted string at the end of a
line and sees history in ``!``, fish has escapes in single quotes, others have their own views of bytes beyond
ASCII. So the script is written in characters that none of them touches, and ``/bin/sh`` decodes it.
"""

_PIECE = 1000
"""Characters of a word: csh takes 1024 or more, by version, and some 1700 words."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ,./:=_@%+-")


def command_line(script: str) -> str:
    """Return a command line that runs a script of ``/bin/sh``; ``$0`` is ``sh`` there.

    It can be as long as one argument may be: with Linux, 128 KiB.
    """
    words = " ".join(f"'{piece}'" for piece in _pieces(_encoded(script)))
    return f"""exec /bin/sh -c 'eval "$(printf %b "$@")"' sh {words}"""


def _encoded(script: str) -> str:
    content = script.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in content)


def _pieces(text: str) -> list[str]:
    """Cut the text, but in no escape."""
    pieces, begin = [], 0
    while begin < len(text):
        end = begin + _PIECE
        # An escape that begins in the last four characters would be cut.
        cut = text.rfind("\\", end - 4, end)
        end = end if cut == -1 or end >= len(text) else cut
        pieces.append(text[begin:end])
        begin = end
    return pieces
