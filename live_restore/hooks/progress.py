"""The end of a session as a person sees it: a bar, and one line for each acquisition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from live_restore.errors import StackUnreadableError
from live_restore.files.naming import results_of_acquisition
from live_restore.formats.script_plan import PlanReader
from live_restore.hooks.account import Account
from live_restore.hooks.child import Outcome, Restorations
from live_restore.hooks.console import progress_bar


def finish_with_progress(
    restorations: Restorations,
    limit_s: float | None,
    say: Callable[[str], None],
    account: Callable[[Path], Account],
) -> None:
    """Restore what is complete, showing how far it is, and report what became of each acquisition.

    Parameters
    ----------
    restorations
        The acquisitions of the session.
    limit_s
        See :meth:`Restorations.finish`.
    say
        Shows the person one line.
    account
        Tells what became of an acquisition that is done with.
    """
    paths = [outcome.path for outcome in restorations.outcomes()]
    try:
        with progress_bar(_planned(paths)) as show:
            restorations.finish(limit_s, lambda: show(sum(map(results, paths))))
    finally:  # Ctrl-C is how a person ends the wait: what is left has to be named then, too
        for outcome in restorations.outcomes():
            say(_line(outcome, account))


def results(path: Path) -> int:
    """Return how many stacks of an acquisition are restored, in all places of the defaults."""
    if path.is_file():
        name = path.name.split(".")[0]
        return _count(path.parent / "restored", f"{name}*.ome.tif")
    beside = results_of_acquisition(path)
    # In a growing image a stack has no file of its own, but a report, which is written last.
    return (
        _count(beside, "*.ome.tif")
        + _count(beside, "*.reports/*.json")
        + _count(path / "restored", "*.ome.tif")
    )


def _count(folder: Path, pattern: str) -> int:
    return sum(1 for _ in folder.glob(pattern))


def _planned(paths: list[Path]) -> int | None:
    """Return how many stacks there will be, ``None`` where that is not known of each."""
    total = 0
    for path in paths:
        try:
            plan = PlanReader(path).read()
        except StackUnreadableError:
            return None  # the child meets it too, and reports it
        if plan is None:
            return None
        total += plan.volumes()
    return total


def _line(outcome: Outcome, account: Callable[[Path], Account]) -> str:
    line = f"{outcome.path}: {results(outcome.path)} stacks restored"
    if not outcome.done:
        target = outcome.path if outcome.path.is_dir() else outcome.path.parent
        return f"{line}; restore the rest with: live-restore watch {target} --once"
    left_out = account(outcome.path).named()
    parts = [line, left_out and f"not restored: {left_out}", outcome.why]
    return "; ".join(part for part in parts if part)
