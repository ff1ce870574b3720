"""``live-restore status``: what happened in a watched folder, and what a person has to look at."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.cli.folders import list_folders
from live_restore.cli.parsing import (
    Commands,
    add_command,
    duration,
    folder,
    load_settings_of,
    watched_run,
)
from live_restore.errors import UsageError, one_line
from live_restore.trust.digits import change_in_words, decibels_in_words, ratio_in_words

if TYPE_CHECKING:
    from live_restore.journal.entry import Entry
    from live_restore.overview.entries import ShownEntry
    from live_restore.overview.night import NightReport, Trend
    from live_restore.overview.run import Run
    from live_restore.settings.model import FilesSettings, Settings
    from live_restore.sources.passed_by import NotLookedAt
    from live_restore.stack import StackKey

_LOST_RESULT = "its result is missing; restore again with live-restore watch --redo-missing"
_REDO_BARS = "live-restore watch DIR --redo-missing, with output.error_bars = true as before"
_LOST_BARS = f"its error bars are missing or empty; restore again: {_REDO_BARS}"
_CHANGED_RESULT = "its result was changed after it was published; compare it, or restore it again"
_NAMES = 3
"""Stacks named per reason; the table below names more of them."""
_ALIKE = 3
"""More entries with one reason are not listed again below it; ``--all`` lists them."""
_REMEMBERED_S = 24 * 3600.0
_ROWS = 40
"""Of the table; ``--all`` and ``--json`` list everything."""


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "status", run, "show what happened: what is done, doubtful or failed, and why",
        "live-restore status D:\\data", "live-restore status D:\\data --html night.html",
        "live-restore status D:\\data --json",
        engine=False,
    )  # fmt: skip
    parser.add_argument(
        "folder", type=folder, metavar="DIR", nargs="?",
        help="the watched folder (unset: a line for each that the settings name in [[watch]])",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="list what is restored, too")
    parser.add_argument(
        "--html", type=Path, metavar="FILE",
        help="write it as one page with pictures, for the lab book",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore status``."""
    from live_restore.alerts.problem import AlertProblem
    from live_restore.engine.daemon import watched_folder
    from live_restore.journal.location import log_path
    from live_restore.overview.results import night_of
    from live_restore.overview.run import Run

    if arguments.folder is None:
        if arguments.html is not None:
            raise UsageError("--html shows one folder", None, "name it")
        return list_folders(arguments)
    root = watched_folder(arguments.folder, remedy="check the path")
    settings = load_settings_of(arguments)
    root, path = watched_run(root, settings)
    overview = Run.read(root, path)
    report = night_of(overview, plane_pattern=settings.files.plane_pattern)
    log = log_path(root, path)
    reasons = _reasons(overview, report)
    passed_by, all_looked_through = _passed_by(root, settings)
    notes, hanging = overview.seen.notes, overview.seen.hanging if report.watched else ""
    problem = AlertProblem(path).read()
    lines = [
        *filter(None, (one_line(hanging), problem)),
        *summary_lines(report),
        *(one_line(f"{acquisition}: {note}") for acquisition, note in notes.items()),
        *map(str, passed_by),
    ]
    if not all_looked_through:
        lines.append(
            "there may be more files that are not looked at: only a part was looked through"
        )
    rows = _rows(overview, report, reasons, everything=arguments.all)
    if arguments.html is not None:
        told = [*lines, f"log: {log}"]
        _write_html(arguments.html, overview, told, rows, settings.files)
        print(f"written: {arguments.html}", file=sys.stderr)
    if arguments.json:
        everything = _everything(overview, report, path, log, reasons)
        everything["not_looked_at"] = [each.to_json() for each in passed_by]
        everything["all_looked_through"] = all_looked_through
        everything["passed_by"] = dict(notes)
        everything["hanging"] = hanging
        everything["alerts"] = problem
        print(json.dumps(everything, indent=1))
        return 0
    for line in lines:
        print(line)
    _print_table(rows)
    print(f"log: {log}")
    return 0


def _passed_by(root: Path, settings: Settings) -> tuple[tuple[NotLookedAt, ...], bool]:
    """Return what a watch passes by in the folder, and whether all of it was looked through."""
    from live_restore.formats.table import make_acquisition_formats, make_formats
    from live_restore.sources.passed_by import survey

    def quietly(problem: str) -> None:
        del problem  # plug-ins that are left out: doctor and watch report them

    formats = make_formats(warn=quietly)
    acquisition_formats = make_acquisition_formats(
        plane_pattern=settings.files.plane_pattern, warn=quietly
    )
    return survey(root, formats, acquisition_formats, settings)


def summary_lines(report: NightReport) -> Iterator[str]:
    """Yield the report as lines for people: what needs them first, numbers after it."""
    from live_restore.journal.states import State

    yield report.counted.words
    if report.first_at is not None and report.last_at is not None:
        yield (
            f"{_clock(report.first_at)} to {_clock(report.last_at)} "
            f"({duration(report.last_at - report.first_at)})"
        )
    yield _watching(report)
    yield from _bad_ends(report)
    if report.last_run.unmeasured:
        yield report.last_run.unmeasured
    for group in report.groups:
        names = ", ".join(one_line(key) for key in group.keys[:_NAMES])
        more = f" and {group.count - _NAMES} more" if group.count > _NAMES else ""
        yield f"{group.count} {group.state}: {group.reason}"
        if group.remedy:
            yield f"    what to do: {group.remedy}"
        yield f"    {names}{more}"
    for what, keys, remedy in (
        ("result missing", report.missing, "live-restore watch DIR --redo-missing"),
        ("error bars missing or empty", report.without_bars, _REDO_BARS),
        ("result changed after it was published", report.changed, "compare it with its report"),
    ):
        if keys:
            yield f"{len(keys)} {what}: {', '.join(one_line(key) for key in keys[:_NAMES])}"
            yield f"    what to do: {remedy}"
    if report.renamed:
        names = ", ".join(one_line(key) for key in report.renamed[:_NAMES])
        yield f"{len(report.renamed)} done of raw data that were renamed, moved or deleted: {names}"
    for channel, trend in report.signal_to_noise.items():
        of = f" of {one_line(channel)}" if len(report.signal_to_noise) > 1 else ""
        yield f"signal to noise{of}: {_trend(trend, ratio_in_words)}"
    yield from _restored_against_raw(report)
    if report.delay is not None:
        yield f"delay from the last plane to the result: {_trend(report.delay, duration)}"
    if report.longest_delay is not None:
        seconds, at = report.longest_delay
        yield f"longest delay: {duration(seconds)}, at {_clock(at)}"
    if report.pace.words and report.counts[State.DONE]:
        yield f"restoring {'' if report.watched else 'at the end: '}{report.pace.words}"


def _restored_against_raw(report: NightReport) -> Iterator[str]:
    for channel, trend in report.gain_db.items():
        of = f" of {one_line(channel)}" if len(report.gain_db) > 1 else ""
        yield f"gain over raw{of}: {_trend(trend, decibels_in_words)} dB"
    for channel, trend in report.flux_bias_percent.items():
        of = f" of {one_line(channel)}" if len(report.flux_bias_percent) > 1 else ""
        first, last = (change_in_words(each) for each in (trend.first, trend.last))
        yield f"light of bright regions{of}, restored against raw: {first} % to {last} %"
    for channel, trust in report.trust.items():
        of = f" {one_line(channel)}" if len(report.trust) > 1 else ""
        yield f"how far to trust{of}: {trust.words}"
    if report.less_light:
        yield f"less light: {report.less_light}"


def _trend(trend: Trend, words: Callable[[float], str]) -> str:
    """Return a trend in words; neither end of a steady one says more than the other.

    >>> from live_restore.overview.night import Trend
    >>> _trend(Trend(10.0, 6.0), duration), _trend(Trend(10.0, 10.4), duration)
    ('falls, from 10.0 s to 6.0 s', 'steady, 10.0 s to 10.4 s')
    """
    first, last = words(trend.first), words(trend.last)
    if first == last:
        return f"{trend.words} at {first}"
    where = f"{first} to {last}" if trend.words == "steady" else f"from {first} to {last}"
    return f"{trend.words}, {where}"


def _bad_ends(report: NightReport) -> Iterator[str]:
    """Yield one line on the watches of the last day that nobody meant to end, but for the last."""
    since = time.time() - _REMEMBERED_S
    ends = [each for each in report.last_run.bad_ends if each.over_at >= since]
    if ends:
        last = ends[-1]
        began, over = _clock(last.began_at), _clock(last.over_at)
        when = f"between {began} and {over}" if last.unseen else f"{over}"
        more = f", the last of {len(ends)} such ends" if len(ends) > 1 else ""
        yield f"it had ended badly before: {last.why}, {when}{more}; it went on from there"


def _watching(report: NightReport) -> str:
    if report.watched:
        return "being watched now" + (", paused" if report.last_run.paused else "")
    why = report.last_run.how_it_ended(watched=False)
    at = report.last_run.ended_at
    when = f", {_clock(at)}" if at is not None else ""
    return f"not being watched now{f': {why}{when}' if why else ''}"


def _reasons(overview: Run, report: NightReport) -> dict[StackKey, str]:
    reasons = {each.entry.key: each.reason for each in overview.shown()}
    reasons |= dict.fromkeys(report.changed, _CHANGED_RESULT)
    reasons |= dict.fromkeys(report.without_bars, _LOST_BARS)
    return reasons | dict.fromkeys(report.missing, _LOST_RESULT)


def _everything(
    overview: Run, report: NightReport, journal: Path, log: Path, reasons: Mapping[StackKey, str]
) -> dict[str, Any]:
    run, delay = report.last_run, report.delay
    return {
        "folder": str(overview.root),
        "journal": str(journal),
        "log": str(log),
        "watched": report.watched,
        "paused": report.watched and run.paused,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "ended": run.how_it_ended(watched=report.watched),
        "unmeasured": run.unmeasured,
        "counts": {state.value: n for state, n in report.counts.items()},
        "doubtful": report.doubtful,
        "doubtful_brightness": report.doubtful_brightness,
        "stacks": report.counted.to_json(),
        "ended_badly_before": [asdict(each) for each in run.bad_ends],
        "first_at": report.first_at,
        "last_at": report.last_at,
        "reasons": [group.to_json() for group in report.groups],
        "signal_to_noise": {
            channel: {"first": trend.first, "last": trend.last, "trend": trend.words}
            for channel, trend in report.signal_to_noise.items()
        },
        "gain_db": _ends(report.gain_db),
        "flux_bias_percent": _ends(report.flux_bias_percent),
        "trust": {channel: asdict(trust) for channel, trust in report.trust.items()},
        "less_light": report.less_light,
        "delay_s": None if delay is None else
        {"first": delay.first, "last": delay.last, "trend": delay.words},
        "longest_delay_s": None if report.longest_delay is None else report.longest_delay[0],
        "pace": report.pace.to_json(),
        "missing": [key.path.as_posix() for key in report.missing],
        "without_error_bars": [key.path.as_posix() for key in report.without_bars],
        "changed": [key.path.as_posix() for key in report.changed],
        "renamed": [key.path.as_posix() for key in report.renamed],
        "files": [_as_json(each.entry, reasons[each.entry.key]) for each in overview.shown()],
    }  # fmt: skip


def _ends(trends: Mapping[str, Trend]) -> dict[str, dict[str, float]]:
    return {name: {"first": trend.first, "last": trend.last} for name, trend in trends.items()}


def _as_json(entry: Entry, reason: str) -> dict[str, Any]:
    return {
        "source": entry.key.path.as_posix(),
        "state": entry.state.value,
        "doubtful": entry.doubtful,
        "doubtful_brightness": entry.doubtful_brightness,
        "reason": reason,
        "stacks": entry.stacks,
        "attempts": entry.attempts,
        "result": entry.result,
        "finished_at": entry.finished_at,
    }


@dataclass(frozen=True)
class _Rows:
    """The table: state, file or stack, and why; ``of`` how many, where some are not in it."""

    shown: list[tuple[str, str, str]]
    of: int

    @property
    def note(self) -> str:
        """Say that some are left out, "" where none is."""
        shown = len(self.shown)
        return f"the first {shown} of {self.of}; --all lists them all" if shown < self.of else ""


def _rows(
    overview: Run, report: NightReport, reasons: Mapping[StackKey, str], *, everything: bool
) -> _Rows:
    from live_restore.journal.states import State

    odd = {*report.missing, *report.without_bars, *report.changed}
    alike = {key for group in report.groups if group.count > _ALIKE for key in group.keys}
    shown = [
        each for each in overview.shown()
        if everything or each.entry.key in odd
        or (each.entry.key not in alike and (each.entry.state is not State.DONE
                                             or each.entry.doubtful))
    ]  # fmt: skip
    rank = {State.FAILED: 0, State.DONE: 1, State.INCOMPLETE: 2, State.REFUSED: 3}
    most = len(shown)
    if not everything and len(shown) > _ROWS:
        shown.sort(key=lambda each: rank.get(each.entry.state, 4))
        most = _ROWS
    rows = [_row(each, reasons[each.entry.key]) for each in shown[:most]]
    return _Rows(rows, len(shown))


def _row(each: ShownEntry, reason: str) -> tuple[str, str, str]:
    doubtful = each.entry.doubtful or each.entry.doubtful_brightness
    state = f"done, {each.state}" if doubtful else each.state
    return state, one_line(each.entry.key), one_line(reason)


def _write_html(
    file: Path, overview: Run, lines: Sequence[str], rows: _Rows, files: FilesSettings
) -> None:
    from live_restore.files.publish import publish_text
    from live_restore.page.night_html import night_html
    from live_restore.page.pixels import Pixels

    if file.is_dir():
        raise UsageError("is a folder", file, "name a file such as night.html")
    told = [*lines, rows.note] if rows.note else lines
    pixels = Pixels(overview.root, files)
    publish_text(file, night_html(overview.root.name, told, rows.shown, overview.shown(), pixels))


def _print_table(rows: _Rows) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if rows.note:
        print(rows.note)
    if not rows.shown:
        return
    table = Table()
    table.add_column("state")
    table.add_column("file or stack", overflow="fold")
    table.add_column("why", overflow="fold")
    for state, which, why in rows.shown:
        # As Text: square brackets in a file name are no markup.
        table.add_row(state, Text(which), Text(why))
    Console().print(table)


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
