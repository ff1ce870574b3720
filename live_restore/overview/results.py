"""The night report of a run: looks at every result, whether it is still what was published."""

from __future__ import annotations

from pathlib import Path

from live_restore.journal.states import State
from live_restore.overview.entries import ShownEntry, report_of
from live_restore.overview.night import NightReport, ResultState, night_report
from live_restore.overview.run import Run


def night_of(run: Run, *, plane_pattern: str | None = None) -> NightReport:
    """Return the report of a run that was read; ``plane_pattern`` is that of the settings."""
    shown = run.shown()
    watched, last_run = run.last_watch
    results = {each.entry.key: result_state(each, run.root) for each in shown}
    return night_report(shown, last_run, results, watched=watched, plane_pattern=plane_pattern)


def result_state(shown: ShownEntry, root: Path) -> ResultState:
    """Return how the result of an entry is found now.

    A report is published after its image, on the same disk and by the same clock: an image that is
    younger than its report was written again by somebody. Of growing images, which are folders
    that get younger with every stack, only their absence is noticed.
    """
    entry, facts = shown.entry, shown.facts
    if entry.lost_its_result(root):
        return ResultState.MISSING
    if facts is not None and facts.error_bars and entry.lost_its_result(root, error_bars=True):
        return ResultState.WITHOUT_BARS
    if entry.state is not State.DONE or not entry.result:
        return ResultState.THERE
    try:
        image = Path(entry.result).stat()
        report = report_of(entry).stat()
    except FileNotFoundError:
        # The raw file is gone, too, or the report alone: a result without one is not ours to judge.
        return ResultState.CHANGED if Path(entry.result).exists() else ResultState.THERE
    except (OSError, ValueError):  # a share that does not answer: nothing is known
        return ResultState.THERE
    if Path(entry.result).is_file() and image.st_mtime_ns > report.st_mtime_ns:
        return ResultState.CHANGED
    return ResultState.WITHOUT_RAW if entry.lost_its_raw_data(root) else ResultState.THERE
