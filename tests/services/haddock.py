"""HADDOCK3 in a virtual environment of its own: the application that the original was made for.

Its source package has CNS as an executable, which does the docking. Its build would also fetch the program
``haddock-restraints`` from elsewhere; that is left away. ``haddock3-restraints`` is in Python, and there.
"""

import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from tests.services.packages import need

WHAT = "HADDOCK3"
VERSION = "2026.10.1"
PINS = Path(__file__).with_suffix(".txt")
FETCHES = "        self.download_binaries()\n"


def install(directory: Path) -> Path:
    """Return where its commands are. Takes minutes and 500 MB; raise Missing where it cannot be built."""
    need(WHAT, ["g++", f"{sysconfig.get_path('include')}/Python.h"], ["g++", "python3-dev"])
    run(sys.executable, "-m", "venv", str(directory / "venv"))
    pip = [str(directory / "venv" / "bin" / "pip"), "--quiet", "--disable-pip-version-check"]
    source = f"haddock3=={VERSION}"
    run(*pip, "download", "--no-deps", "--no-binary=haddock3", f"--dest={directory}", source)
    with tarfile.open(directory / f"haddock3-{VERSION}.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    unpacked = directory / f"haddock3-{VERSION}"
    build = unpacked / "setup.py"
    assert build.read_text().count(FETCHES) == 1
    build.write_text(build.read_text().replace(FETCHES, ""))
    run(*pip, "install", f"--constraint={PINS}", str(unpacked))
    return directory / "venv" / "bin"


def run(*command: str) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, f"{command} says: {done.stdout[-2000:]}"
