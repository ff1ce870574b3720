"""A process that runs cases until one of them ends it.

    python -m tests.fuzz.worker KIND FIRST COUNT [MEMORY_BYTES]

It tells on standard output, one JSON object per line, which case it begins and how each ends.
Whoever started it keeps the time. Its address space is limited to what it has after its start and
``MEMORY_BYTES`` more: that is the memory that a case may take.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

GIB = 2**30
# What libraries print is not for whoever listens here.
_SAID = os.dup(1)
os.dup2(2, 1)


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def say(**what: object) -> None:
    """Tell one line."""
    os.write(_SAID, json.dumps(what).encode() + b"\n")


def main(kind: str, first: int, count: int, memory: int) -> None:
    """Run the cases ``first`` to ``first + count - 1``."""
    place = Path(tempfile.mkdtemp(prefix="fuzz", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    os.environ["XDG_STATE_HOME"] = str(place / "state")
    warnings.simplefilter("ignore")
    from tests.fuzz.kinds import KINDS, mutated
    from tests.fuzz.seeds import seed_trees

    try:
        trees = seed_trees(kind)
        for tree in trees:  # whatever is imported late is imported now
            import random

            KINDS[kind].use(random.Random(0), place / "input", tree, tree.copy())
        limit = _address_space() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        started_with = _resident()
        say(ready=True)
        for number in range(first, first + count):
            rng, pristine, hurt = mutated(kind, number, trees)
            say(begin=number)
            began = time.monotonic()
            problem = ""
            try:
                KINDS[kind].use(rng, place / "input", pristine, hurt)
            except BaseException as error:  # noqa: BLE001 - anything that gets here is a find
                problem = "".join(traceback.format_exception_only(error))[:500].strip()
                frames = traceback.extract_tb(error.__traceback__)
                problem += " at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[:-9:-1])
            say(
                end=number, seconds=round(time.monotonic() - began, 4), problem=problem,
                resident=max(0, _resident() - started_with),
            )  # fmt: skip
        say(done=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else GIB)
