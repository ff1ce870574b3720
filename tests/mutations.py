"""Break one mechanism after another, and see that a test notices; run by hand.

    python tests/mutations.py [--only NAME] [--list]

Each mutation is made in a temporary copy of the tree. Ends with 1 if one was not noticed, or if
its text is no longer found exactly once in the package (``STALE``).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "live_restore"


@dataclass(frozen=True)
class Mutation:
    """One broken promise; ``tests`` are files or node ids, ``old`` is unique in the package."""

    name: str
    promise: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "suspect-alone",
        "what was in hand at a crash is worked on alone",
        "alone=alone,",
        "alone=True,",
        ("tests/engine/test_pipeline.py",),
    ),
    Mutation(
        "large-put-off",
        "a stack too large for a full disk lets smaller ones go first",
        "self._deferrals.add(entry.source, _LONGEST_WAIT_FOR_ROOM_S)",
        "pass",
        ("tests/engine/test_pipeline.py",),
    ),
    Mutation(
        "scan-pause",
        "scanning pauses while the journal refuses",
        "until = time.monotonic() + wait_s\n            while time.monotonic() < until and not",
        "until = time.monotonic()\n            while time.monotonic() < until and not",
        ("tests/engine/test_daemon.py",),
    ),
    Mutation(
        "hint-wakes",
        "a file event ends the wait for the next scan",
        "self._hints.add(path)\n        self._wake.set()",
        "self._hints.add(path)",
        ("tests/sources/test_folder.py::test_a_hint_from_another_thread_ends_the_wait",),
    ),
)


def place(mutation: Mutation, root: Path = ROOT) -> Path | None:
    """Return the one module that holds the text once, or ``None``: it is stale."""
    counts = {
        path: path.read_text("utf-8").count(mutation.old)
        for path in sorted((root / PACKAGE).rglob("*.py"))
    }
    found = {path: count for path, count in counts.items() if count}
    return next(iter(found)) if list(found.values()) == [1] else None


def outcome(mutation: Mutation) -> str:
    """Make the mutation in a copy, run its tests there, and say what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
        module = place(mutation, copy)
        if module is None:
            return "STALE"
        module.write_text(module.read_text("utf-8").replace(mutation.old, mutation.new), "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutation.tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{copy / 'export'}"},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.search(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 1 and failed:
        return f"noticed by {failed[1]}"
    # Anything but failing tests (no test found, an error of collection) proves nothing.
    return "NOT NOTICED" if done.returncode == 0 else f"NOT NOTICED (pytest: {done.returncode})"


def main() -> int:
    """Report what became of each mutation."""
    parser = argparse.ArgumentParser(description="See that each broken promise is noticed.")
    parser.add_argument("--only", metavar="NAME")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if options.only in (None, m.name)]
    if not chosen:
        parser.error(f"no mutation is called {options.only}; --list names them")
    bad = False
    for mutation in chosen:
        said = mutation.promise if options.list else outcome(mutation)
        bad = bad or said.startswith(("STALE", "NOT NOTICED"))
        print(f"{mutation.name:20} {said}", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
