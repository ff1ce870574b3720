"""What the page knows of one journal entry: its state, and what its report says of its stacks.

Names, reasons and metadata come from other people's files: they are passed on as text, shortened,
and nobody makes markup of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from live_restore.errors import one_line
from live_restore.files.naming import stack_report_path
from live_restore.files.values import NotJsonError, integer, number, positive, text
from live_restore.journal.entry import Entry, acquisition_bytes
from live_restore.journal.states import State
from live_restore.outputs.report_file import REPORT_FORMAT, read_report
from live_restore.stack import FOR_BRIGHTNESS, StackIndex, StackKey
from live_restore.trust.doubt_lines import about_brightness, about_the_picture

NEVER_COMPLETE = "never complete"
"""What was still arriving when the last watch ended; while somebody watches, it still arrives."""
_MAX_STACKS = 20_000
"""Stacks of one file that are listed."""
_MAX_EDGE = 2**20
_MOST_LEVELS = 20
_CLOCKS_DIFFER_S = 60.0
"""Those of this computer and of a share, at most; and how long before a watch data may be new."""


@dataclass(frozen=True, slots=True)
class ShownStack:
    """One stack that can be looked at: where it lies in its entry, and what its report says.

    ``brightness_doubt`` says why measuring brightness in it is doubtful ("": it is not); all others
    are ``doubts``. Statistics are in grey values (ADU); ``gain_is_more`` where the gain is more
    than can be estimated; ``half_light_db`` is what half the light would cost, and ``less_light``
    says so in words; ``None`` where the report does not tell.
    """

    id: str
    position: int
    time: int
    channel: int
    channel_name: str
    restored: bool
    doubts: tuple[str, ...] = ()
    brightness_doubt: str = ""
    snr: float | None = None
    raw_low: float | None = None
    raw_high: float | None = None
    raw_mean: float | None = None
    restored_low: float | None = None
    restored_high: float | None = None
    restored_mean: float | None = None
    gain_db: float | None = None
    gain_is_more: bool = False
    flux_bias_percent: float | None = None
    raw_sharpness: float | None = None
    restored_sharpness: float | None = None
    half_light_db: float | None = None
    less_light: str = ""


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What the page needs of a report; ``error_bars``: whether it names an image of those."""

    shape_zyx: tuple[int, int, int]
    dtype: str
    axes: str
    voxel_um: tuple[float | None, float | None, float | None]
    sizes_ptc: tuple[int, int, int]
    delay_s: float | None
    written_s: float | None
    network_s: float | None
    model: str
    device: str
    hardware: str
    stacks: tuple[ShownStack, ...]
    shapes_zyx: tuple[tuple[int, int, int], ...] = ()
    error_bars: bool = False

    def shape_of(self, position: int) -> tuple[int, int, int]:
        """Return the shape of the stacks of a position."""
        return self.shapes_zyx[position] if position < len(self.shapes_zyx) else self.shape_zyx


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """A journal entry as the page shows it; ``version`` grows with every change.

    ``never_complete``: it was still arriving when the last watch ended.
    """

    id: str
    version: int
    entry: Entry
    reason: str
    facts: ReportFacts | None
    never_complete: bool = False

    @property
    def state(self) -> str:
        """In which it is shown: that of the journal, or one of three that it does not know."""
        if self.entry.doubtful_brightness:
            return FOR_BRIGHTNESS
        if self.entry.doubtful:
            return "doubtful"
        if self.never_complete:
            return NEVER_COMPLETE
        return self.entry.state.value

    def to_json(self) -> dict[str, Any]:
        """Return it for the API; no path of this computer is in it, only names below the run."""
        entry, facts = self.entry, self.facts
        index = entry.key.index
        what, remedy = split_remedy(self.reason, entry.state)
        return {
            "id": self.id,
            "version": self.version,
            "name": one_line(entry.key.acquisition.name)[:200],
            "series": series_id(entry.key),
            "series_name": series_name(entry.key),
            "index": None if index is None else list(index),
            "state": State.INCOMPLETE.value if self.never_complete else entry.state.value,
            "doubtful": entry.doubtful,
            "doubtful_brightness": entry.doubtful_brightness,
            "reason": what,
            "remedy": remedy,
            "stack_count": entry.stacks,
            "attempts": entry.attempts,
            "seen_at": entry.seen_at,
            "finished_at": entry.finished_at,
            "report": None if facts is None else asdict(facts),
        }


def entry_id(key: StackKey) -> str:
    """Return the opaque name of an entry: the same after a restart, and no path can be read off it.

    Examples
    --------
    >>> entry_id(StackKey(Path("day/cell.tif")))
    '4aa3276d0f9c3957'
    """
    index = b"" if key.index is None else key.index.label.encode()
    path = acquisition_bytes(key.acquisition)
    return hashlib.sha256(b"entry\0" + path + b"\0" + index).hexdigest()[:16]


def series_id(key: StackKey) -> str:
    """Return the opaque name of what belongs together: an acquisition, or a folder of files."""
    kind = b"acquisition\0" if key.index is not None else b"folder\0"
    return hashlib.sha256(kind + acquisition_bytes(_series(key))).hexdigest()[:16]


def series_name(key: StackKey) -> str:
    """Return what a person calls it; "" is the watched folder itself."""
    folder = _series(key)
    return one_line(folder.as_posix() if folder.parts else "")[:200]


def _series(key: StackKey) -> Path:
    return key.acquisition if key.index is not None else key.acquisition.parent


def split_remedy(reason: str, state: State) -> tuple[str, str]:
    """Return what happened, and what to do about it ("" where a reason names no remedy).

    Examples
    --------
    >>> split_remedy("the file is damaged; record it again", State.FAILED)
    ('the file is damaged', 'record it again')
    >>> split_remedy("1 of 2 stacks: dark; 1 of 2 stacks: odd", State.DONE)
    ('1 of 2 stacks: dark; 1 of 2 stacks: odd', '')
    """
    if state is State.DONE:
        return reason, ""
    what, _, remedy = reason.rpartition("; ")
    return (what, remedy) if what else (remedy, "")


def report_of(entry: Entry) -> Path:
    """Return where the report of a done entry lies."""
    label = "" if entry.key.index is None else entry.key.index.label
    return stack_report_path(Path(entry.result), label)


def read_facts(entry: Entry) -> ReportFacts | None:
    """Return what the report of an entry says that has a result, ``None`` where none is readable.

    A file that is still arriving may have one, of its first stacks.
    """
    if entry.state not in (State.DONE, State.ARRIVING) or not entry.result:
        return None
    try:
        facts = facts_of(read_report(report_of(entry)), entry.key)
        return facts if _arrived_while_watched(entry, facts) else replace(facts, delay_s=None)
    except (OSError, NotJsonError, LookupError, TypeError, ValueError, AttributeError):
        return None  # written by anybody, moved, or deleted: then there is nothing to show of it


def _arrived_while_watched(entry: Entry, facts: ReportFacts) -> bool:
    """Return whether a delay means anything: of what was there before, it counts from long ago."""
    if facts.delay_s is None or entry.finished_at is None:
        return True
    return facts.delay_s <= entry.finished_at - entry.seen_at + _CLOCKS_DIFFER_S


def facts_of(report: dict[str, Any], key: StackKey) -> ReportFacts:
    """Return what the page needs of a report.

    Raises
    ------
    LookupError, TypeError, ValueError, AttributeError
        It is no report of this program.
    """
    if report["format"] != REPORT_FORMAT:
        raise ValueError("no report of this version")
    source, seconds = report["source"], report["seconds"]
    z, y, x = (_edge(each) for each in source["shape_zyx"])
    sizes = _edge(source["positions"]), _edge(source["times"]), _edge(source["channels"])
    voxel = source["voxel_um"]
    models: dict[str, dict[str, Any]] = report["models"]
    name, model = next(iter(models.items()), ("", {}))
    device = model.get("device", {})
    own = entry_id(key)
    return ReportFacts(
        shape_zyx=(z, y, x),
        dtype=text(source["dtype"], 20),
        axes=text(source["axes"], 10),
        voxel_um=(positive(voxel["z"]), positive(voxel["y"]), positive(voxel["x"])),
        sizes_ptc=sizes,
        delay_s=number(seconds.get("delay")),
        written_s=number(seconds.get("publish")),
        network_s=number(seconds.get("network")),
        model=one_line(f"{text(name)} {text(model.get('version'))}".strip()),
        device=one_line(text(device.get("provider"))),
        hardware=one_line(text(device.get("hardware"))),
        stacks=tuple(_shown_stack(line, own, key.index) for line in report["stacks"][:_MAX_STACKS]),
        shapes_zyx=tuple(
            (_edge(z), _edge(y), _edge(x)) for z, y, x in source.get("shapes_zyx", [])[:_MAX_STACKS]
        ),
        error_bars=bool(report.get("error_bars")),
    )


def _shown_stack(line: dict[str, Any], own: str, index: StackIndex | None) -> ShownStack:
    place = [integer(line[name]) or 0 for name in ("position", "time", "channel")]
    before, after = line["before"], line.get("after") or {}
    snr = line.get("signal_to_noise") or {}
    less, gain = _part(line, "less_light"), _part(line, "gain_over_raw")
    where = StackIndex(*place) if index is None else index
    doubts = [one_line(text(doubt, 600)) for doubt in line.get("doubts", ())[:20]]
    return ShownStack(
        id=f"{own}-{place[0]}-{place[1]}-{place[2]}" if index is None else f"{own}-0-0-0",
        position=where.position,
        time=where.time,
        channel=where.channel,
        channel_name=_channel_name(text(line["channel_name"]), where.channel),
        restored=line["restored"] is True,
        doubts=about_the_picture(doubts),
        brightness_doubt="; ".join(about_brightness(doubts)),
        snr=number(snr.get("ratio")),
        raw_low=number(before.get("p1")),
        raw_high=number(before.get("p99.9")),
        raw_mean=number(before.get("mean")),
        restored_low=number(after.get("p1")),
        restored_high=number(after.get("p99.9")),
        restored_mean=number(after.get("mean")),
        gain_db=number(gain.get("db")),
        gain_is_more=bool(gain) and gain.get("db") is None and not gain.get("not_known_because"),
        flux_bias_percent=number(_part(line, "brightness").get("flux_bias_percent")),
        raw_sharpness=number(_part(line, "sharpness").get("raw")),
        restored_sharpness=number(_part(line, "sharpness").get("restored")),
        half_light_db=_half_light_db(less),
        less_light=one_line(text(less.get("in_words"), 300)),
    )


def _channel_name(told: str, channel: int) -> str:
    """Return what people call a channel; one that the file does not name is told as its number."""
    name = one_line(told)
    return f"channel {channel}" if name in ("", str(channel)) else name


def _part(line: dict[str, Any], name: str) -> dict[str, Any]:
    found = line.get(name)
    return found if isinstance(found, dict) else {}


def _half_light_db(less: dict[str, Any]) -> float | None:
    levels = less.get("levels")
    for level in levels[:_MOST_LEVELS] if isinstance(levels, list) else ():
        if isinstance(level, dict) and level.get("light") == 0.5:
            return number(level.get("cost_db"))
    return None


def _edge(value: object) -> int:
    size = integer(value)
    if size is None or not 0 < size <= _MAX_EDGE:
        raise ValueError("no size of an image")
    return size
