"""Break one mechanism after another, and see that a test notices; run by hand.

    python -m tests.mutations [--only NAME] [--list]

Each mutant of ``mutants/`` is made in a temporary copy of the tree, after the tests of all have
passed in a copy that nothing was done to. Ends with 1 if one was not noticed, if its tests do not
pass without it (``BROKEN``), or if its text is no longer found exactly once (``STALE``). Run it at
normal priority: a process that has given way already cannot show that it gives way. Tests of real
stacks need ``LIVE_RESTORE_SHARED``; none of the table does.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "live_restore"
_SHARED = "LIVE_RESTORE_SHARED"
# All tests together, on the tree as it is, take a minute alone; whatever takes this long hangs.
_LIMIT_S = 400.0
_HANGS = -1
# In the place of those in pyproject.toml: workers take longer to start than these tests take.
_OPTIONS = ("-o", "addopts=", "-m", "not slow and not gpu", "-q", "-p", "no:cacheprovider")


@functools.cache
def sources() -> dict[Path, str]:
    """Return the modules of the package as they are, by their paths below ``ROOT``."""
    return {
        path.relative_to(ROOT): path.read_text("utf-8")
        for path in sorted((ROOT / PACKAGE).rglob("*.py"))
    }


def place(mutant: Mutant) -> Path | None:
    """Return the one module that holds the text once, or ``None``: it is stale."""
    counts = {path: text.count(mutant.old) for path, text in sources().items()}
    found = {path: count for path, count in counts.items() if count}
    return next(iter(found)) if list(found.values()) == [1] else None


def broken(mutant: Mutant, module: Path) -> str:
    """Return the text of its module without the mechanism."""
    return sources()[module].replace(mutant.old, mutant.new)


@contextmanager
def _copy_of_the_tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "build")
        shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
        yield copy


def _run(tests: tuple[str, ...], tree: Path, *options: str) -> tuple[int, str]:
    """Run tests in a copy of the tree; return pytest's exit code and what it wrote."""
    environment = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'export'}"}
    if _SHARED in environment:
        environment[_SHARED] = str(Path(environment[_SHARED]).absolute())
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *_OPTIONS, *options, *tests],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _HANGS, ""
    return done.returncode, done.stdout + done.stderr


def obstacles(mutants: Sequence[Mutant]) -> dict[str, str]:
    """Return, by name, of which mutants the tests prove nothing on the tree as it is, and why.

    All are run together, once.
    """
    tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    with _copy_of_the_tree() as copy:
        code, output = _run(tests, copy, "-rfEp")
    if code not in (0, 1):
        lines = output.strip().splitlines() or ["hangs"]
        return {mutant.name: f"pytest ends with {code}: {lines[-1]}" for mutant in mutants}
    passed = re.findall(r"^PASSED (.+)$", output, re.MULTILINE)
    return {
        mutant.name: next((f for f in _failures(output) if _is_of(f, mutant)), "all are skipped")
        for mutant in mutants
        if any(_is_of(f, mutant) for f in _failures(output))
        or not any(_is_of(p, mutant) for p in passed)
    }


def _failures(output: str) -> list[str]:
    return re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)


def _is_of(result: str, mutant: Mutant) -> bool:
    """Return whether a line of pytest's summary is about a test of this mutant."""
    return any(re.match(rf"{re.escape(test)}(::|\[| |$)", result) for test in mutant.tests)


def outcome(mutant: Mutant) -> str:
    """Make a mutant in a copy, run its tests there, and return what became of it."""
    module = place(mutant)
    if module is None:
        return "STALE"
    with _copy_of_the_tree() as copy:
        (copy / module).write_text(broken(mutant, module), "utf-8")
        code, output = _run(mutant.tests, copy, "-x")
    if code == 1 and (failures := _failures(output)):
        return f"noticed by {failures[0]}"
    # Anything but failing tests (a hang, an error of collection) proves nothing.
    return "NOT NOTICED" if code == 0 else f"NOT NOTICED (pytest ends with {code})"


def main() -> int:
    """Report what became of each mutant."""
    parser = argparse.ArgumentParser(description="See that each broken promise is noticed.")
    parser.add_argument("--only", metavar="NAME", nargs="+")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if options.only is None or m.name in options.only]
    if len(chosen) < len(options.only or chosen):
        parser.error(f"not all of {', '.join(options.only)} are mutants; --list names them")
    if options.list:
        for mutant in chosen:
            print(f"{mutant.promise:2} {mutant.name:22} {mutant.mechanism}")
        return 0
    in_the_way = obstacles(chosen)
    bad = False
    for mutant in chosen:
        why = in_the_way.get(mutant.name)
        line = outcome(mutant) if why is None else f"BROKEN ({why})"
        bad = bad or not line.startswith("noticed")
        print(f"{mutant.name:22} {line}", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
