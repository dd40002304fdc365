"""Programs and libraries that visitors make archives with."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.services import node, packages

HERE = Path(__file__).parent

_PACKAGES = {
    "zip": "zip",
    "7zz": "7zip",
    "bsdtar": "libarchive-tools",
    "busybox": "busybox",
    "cpio": "cpio",
    "git": "git",
    "jar": "default-jdk-headless",
    "pax": "pax",
    "pigz": "pigz",
    "xz": "xz-utils",
    "zstd": "zstd",
    "bzip2": "bzip2",
}


@dataclass(frozen=True)
class Writer:
    """``command`` is run by the shell in a directory, and makes ``$ARCHIVE`` of it."""

    command: str
    programs: tuple[str, ...] = ()
    long_names: bool = True
    modes: bool = True
    empty_directories: bool = True
    adds: frozenset[str] = frozenset()

    def write(self, directory: Path, archive: Path) -> None:
        """Make the archive; raise Missing where the program cannot be had."""
        for program in self.programs:
            if program == "node":
                node.install("the test of libraries that make archives", HERE)
            elif shutil.which(program) is None:
                packages.need(f"the test of {program}", [program], [_PACKAGES[program]])
        environment = {"ARCHIVE": str(archive), "PYTHON": sys.executable, "WRITE": str(HERE / "write.mjs")}
        subprocess.run(
            ["sh", "-ec", self.command],
            cwd=directory,
            env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _info_zip() -> list[Writer]:
    options = ["-r", "-0r", "-fzr", "-rX", "-r -Z bzip2", "-r -UN=UTF8", "-r -UN=escape"]
    return [
        *(Writer(f"zip -q {option} $ARCHIVE .", ("zip",)) for option in options),
        Writer("zip -qr - . | cat > $ARCHIVE", ("zip",)),
        Writer("zip -q0r - . | cat > $ARCHIVE", ("zip",)),
        Writer("LC_ALL=C zip -qr $ARCHIVE .", ("zip",)),
        Writer("zip -q $ARCHIVE README.md && zip -qr $ARCHIVE .", ("zip",)),
        Writer("zip -qr x.zip . && zip -q --out $ARCHIVE x.zip -U '*' && rm x.zip", ("zip",)),
    ]


def _seven_zip() -> list[Writer]:
    commands = [
        *(
            f"7zz a -tzip -mm={method} $ARCHIVE ."
            for method in ("Copy", "Deflate", "Deflate64", "BZip2", "LZMA", "XZ")
        ),
        *(
            f"7zz a {options} -so x . | cat > $ARCHIVE"
            for options in ("-tzip", "-tzip -mm=Deflate64", "-ttar")
        ),
        "7zz a -tzip -mcu=on $ARCHIVE .",
        "7zz a -tzip -mm=Deflate64 -mx=9 $ARCHIVE .",
        "7zz a -ttar -snh $ARCHIVE .",
        "7zz a -ttar -mm=pax $ARCHIVE .",
        *(f"7zz a -ttar -so x . | 7zz a -t{form} -si $ARCHIVE" for form in ("gzip", "xz", "bzip2")),
    ]
    return [Writer(command, ("7zz",)) for command in commands]


def _bsdtar() -> list[Writer]:
    formats = ["ustar", "pax", "gnutar", "zip"]
    return [
        *(Writer(f"bsdtar --format {form} -cf $ARCHIVE .", ("bsdtar",)) for form in formats),
        *(Writer(f"bsdtar --format {form} -cf - . | cat > $ARCHIVE", ("bsdtar",)) for form in formats),
        Writer("bsdtar -cf $ARCHIVE .", ("bsdtar",)),
        *(Writer(f"bsdtar -cf $ARCHIVE {option} .", ("bsdtar",)) for option in ("-z", "-j", "-J", "--zstd")),
        Writer("bsdtar --format v7 -cf $ARCHIVE .", ("bsdtar",), long_names=False),
        Writer("bsdtar --format zip --options zip:zip64 -cf $ARCHIVE .", ("bsdtar",)),
        Writer("bsdtar --format zip --options zip:compression=store -cf - . | cat > $ARCHIVE", ("bsdtar",)),
        Writer("bsdtar -cf $ARCHIVE README.md && bsdtar -rf $ARCHIVE .", ("bsdtar",)),
    ]


def _other_tars() -> list[Writer]:
    compressors = ["pigz", "bzip2", "xz -T2 --block-size=100000", "zstd -T2", "zstd --long=27 --ultra -22"]
    return [
        *(Writer(f"tar --format={form} -cf $ARCHIVE .") for form in ("gnu", "oldgnu", "pax", "ustar")),
        Writer("tar --format=v7 -cf $ARCHIVE .", long_names=False),
        *(Writer(f"tar -cf - . | {command} > $ARCHIVE", (command.split()[0],)) for command in compressors),
        Writer("tar -cf $ARCHIVE README.md && tar -rf $ARCHIVE ."),
        Writer("tar -cf $ARCHIVE . && touch -d 2100-01-01 README.md && tar -uf $ARCHIVE ."),
        Writer("tar -cf $ARCHIVE data && tar -cf ../x.tar . && tar -Af $ARCHIVE ../x.tar"),
        Writer("tar -cf $ARCHIVE . && tar --delete -f $ARCHIVE ./data && tar -rf $ARCHIVE data"),
        Writer("tar -cf $ARCHIVE README.md README.md ."),
        Writer("tar -C .. -cf $ARCHIVE --transform s/^in/./ in"),
        Writer("pax -w -x ustar . > $ARCHIVE", ("pax",)),
        Writer("pax -w -x tar . > $ARCHIVE", ("pax",), long_names=False),
        Writer("find . | cpio -o -H ustar > $ARCHIVE", ("cpio",)),
        Writer("busybox tar -cf $ARCHIVE .", ("busybox",)),
    ]


def _git() -> list[Writer]:
    commit = "git init -q && git add -A && git -c user.name=me -c user.email=me@localhost commit -qm first"
    return [
        Writer(
            f"{commit} && git archive --format {form} HEAD > $ARCHIVE && rm -r .git",
            ("git",),
            empty_directories=False,
        )
        for form in ("zip", "zip -0", "tar", "tar.gz")
    ]


def _java() -> list[Writer]:
    manifest = frozenset({"META-INF", "META-INF/MANIFEST.MF"})
    return [
        Writer("jar cf $ARCHIVE .", ("jar",), modes=False, adds=manifest),
        Writer("jar cMf $ARCHIVE .", ("jar",), modes=False),
        Writer("jar c0Mf $ARCHIVE .", ("jar",), modes=False),
        Writer("jar cM . | cat > $ARCHIVE", ("jar",), modes=False),
    ]


_STREAMED = """
import pathlib, sys, zipfile
with zipfile.ZipFile(sys.stdout.buffer, "w", zipfile.ZIP_DEFLATED) as archive:
    for path in pathlib.Path(".").rglob("*"):
        if path.is_dir():
            archive.write(path)
            continue
        with archive.open(zipfile.ZipInfo.from_file(path), "w", force_zip64=True) as member:
            member.write(path.read_bytes())
"""


def _python() -> list[Writer]:
    made = '$PYTHON -c \'import os, shutil; os.rename(shutil.make_archive("../x", "{}"), "../x")\''
    return [
        Writer("$PYTHON -m zipfile -c $ARCHIVE ./*"),
        Writer("$PYTHON -m tarfile -c $ARCHIVE ./*"),
        Writer(f"$PYTHON -c '{_STREAMED}' | cat > $ARCHIVE"),
        *(
            Writer(f"{made.format(form)} && mv ../x $ARCHIVE")
            for form in ("zip", "tar", "gztar", "bztar", "xztar")
        ),
    ]


def _in_browsers() -> list[Writer]:
    with_modes = ["jszip-unix", "zip.js-unix"]
    without = [
        *("jszip", "jszip-stored", "jszip-streamed"),
        *("fflate", "fflate-streamed"),
        *("zip.js", "zip.js-zip64", "zip.js-no-descriptors"),
        "client-zip",
    ]
    return [
        Writer(f"node $WRITE {name} > $ARCHIVE", ("node",), modes=name in with_modes)
        for name in with_modes + without
    ]


WRITERS = [
    *_info_zip(),
    *_seven_zip(),
    *_bsdtar(),
    *_other_tars(),
    *_git(),
    *_java(),
    *_python(),
    *_in_browsers(),
]
