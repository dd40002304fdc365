"""A child for tests, which writes who it is and what it was given, and stays."""

import json
import os
import signal
import sys
from pathlib import Path

FILES = Path("/proc/self/fd")

if __name__ == "__main__":
    known = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "argument": sys.argv[1],
        "variables": {name: os.environ.get(name) for name in ("OURS", "OF_THE_PARENT")},
        "held": sorted(str(path.readlink()) for path in FILES.iterdir() if path.is_symlink()),
        "forked": "deployments.serving.nursery" in sys.modules,
        "name": Path("/proc/self/cmdline").read_text().replace("\0", " ").strip(),
    }
    print(json.dumps(known), flush=True)
    signal.pause()
