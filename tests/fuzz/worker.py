"""A process that runs cases until one of them ends it.

    python -m tests.fuzz.worker KIND,KIND FIRST COUNT DONE MEMORY_BYTES

It tells on standard output, one JSON object per line, which case it begins and how each ends.
Whoever started it keeps the time. Its address space is limited to what it has after its start and
``MEMORY_BYTES`` more: that is the memory that a case may take.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

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


def main(kinds: list[str], first: int, count: int, done: int, memory: int) -> None:
    """Run the cases ``first`` to ``first + count - 1`` of each kind, without those done already."""
    shm = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="fuzz", dir=shm if shm.is_dir() else None))
    os.environ["LIVE_RESTORE_STATE"] = str(place / "state")
    warnings.simplefilter("ignore")
    from tests.fuzz.kinds import KINDS, mutated
    from tests.fuzz.seeds import seed_trees

    try:
        trees = {kind: seed_trees(kind) for kind in kinds}
        for kind in kinds:
            for tree in trees[kind]:  # whatever is imported late is imported now
                KINDS[kind].use(random.Random(0), place / "input", tree, tree.copy())
        limit = _address_space() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        started_with = _resident()
        cases = [(kind, number) for kind in kinds for number in range(first, first + count)]
        for kind, number in cases[done:]:
            rng, pristine, hurt = mutated(kind, number, trees[kind])
            began = time.process_time()
            say(begin=number, kind=kind, cpu=began)
            problem = ""
            try:
                KINDS[kind].use(rng, place / "input", pristine, hurt)
            except BaseException as error:  # noqa: BLE001 - anything that gets here is a find
                problem = _told(error)
            seconds = round(time.process_time() - began, 4)
            grown = max(0, _resident() - started_with)
            say(end=number, kind=kind, seconds=seconds, problem=problem, resident=grown)
        say(done=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _told(error: BaseException) -> str:
    what = "".join(traceback.format_exception_only(error))[:500].strip()
    frames = traceback.extract_tb(error.__traceback__)[:-9:-1]
    return f"{what} at {' < '.join(f'{Path(f.filename).name}:{f.lineno}' for f in frames)}"


if __name__ == "__main__":
    main(sys.argv[1].split(","), *map(int, sys.argv[2:6]))
