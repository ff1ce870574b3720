"""The night report: how long a run took, what went wrong, whether it drifted, why it ended. Pure.

Failures and doubts come first: they are what a person who comes back has to decide about.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from live_restore.journal.facts import RunRecord
from live_restore.journal.states import State
from live_restore.overview.counted import Counted
from live_restore.overview.entries import ShownEntry, ShownStack
from live_restore.overview.pace import Pace, pace_of
from live_restore.overview.reasons import ReasonGroup, grouped
from live_restore.stack import StackKey
from live_restore.trust.digits import (
    change_in_words,
    decibels_in_words,
    range_in_words,
    ratio_in_words,
)

_FEWEST = 8
"""Values of which a trend is told: two in each quarter at least."""
_SCATTER = 0.1
"""Of the value: less change is that of the estimate (``trust.snr``: 10 % between neighbours)."""
_MOST_CHANNELS = 8
_DUE = (State.WAITING, State.RUNNING)


class ResultState(StrEnum):
    """How a result that was published is found now."""

    THERE = "there"
    MISSING = "missing"
    WITHOUT_BARS = "without error bars"
    CHANGED = "changed"
    WITHOUT_RAW = "without raw data"


@dataclass(frozen=True)
class Trend:
    """A value at the beginning and at the end: medians of the first and of the last quarter."""

    first: float
    last: float

    @property
    def words(self) -> str:
        """The same for people.

        >>> Trend(10.0, 6.0).words, Trend(10.0, 10.4).words
        ('falls', 'steady')
        """
        change = self.last - self.first
        if abs(change) <= _SCATTER * abs(self.first):
            return "steady"
        return "rises" if change > 0 else "falls"


@dataclass(frozen=True)
class Trust:
    """What the reports of one channel say of how far to trust its results.

    Parameters
    ----------
    stacks
        How many are restored.
    signal_to_noise, gain_db, flux_bias_percent
        Lowest and highest: of the raw stacks; of the restored ones over raw; and of their light in
        bright regions against raw. ``None`` where it is known of none.
    gain_known, gain_is_more
        Of how many the gain is known, and of how many it is more than can be estimated.
    signal_to_noise_known
        Of how many that ratio is known.
    """

    stacks: int
    signal_to_noise: tuple[float, float] | None
    gain_db: tuple[float, float] | None
    flux_bias_percent: tuple[float, float] | None
    gain_known: int
    gain_is_more: int
    signal_to_noise_known: int

    @classmethod
    def of(cls, stacks: Sequence[ShownStack]) -> Trust:
        """Put together what is known of restored stacks."""
        return cls(
            len(stacks),
            _ends(stack.snr for stack in stacks),
            _ends(stack.gain_db for stack in stacks),
            _ends(stack.flux_bias_percent for stack in stacks),
            sum(stack.gain_db is not None for stack in stacks),
            sum(stack.gain_is_more for stack in stacks),
            sum(stack.snr is not None for stack in stacks),
        )

    @property
    def words(self) -> str:
        """The same for people.

        >>> Trust(3, (3.1, 14.2), (9.0, 9.5), None, 2, 1, 3).words
        'signal to noise 3.1 to 14, gain over raw 9.0 to 9.5 dB (in 2 of 3; more in 1)'
        >>> Trust(3, None, None, (-2.0, -2.0), 0, 0, 0).words.partition("known, ")[2]
        'gain over raw not known, light of bright regions -2.0 % against raw'
        """
        snr, gain, flux = self.signal_to_noise, self.gain_db, self.flux_bias_percent
        more = f"more in {self.gain_is_more}" if self.gain_is_more else ""
        if gain is None:
            gained = f"{more} than can be known" if more else "not known"
        else:
            gained = f"{range_in_words(gain, decibels_in_words)} dB"
            gained += self._notes(self.gain_known, more)
        noisy = "not known"
        if snr is not None:
            noisy = range_in_words(snr, ratio_in_words) + self._notes(self.signal_to_noise_known)
        said = [f"signal to noise {noisy}", f"gain over raw {gained}"]
        if flux is not None:
            light = range_in_words(flux, change_in_words)
            said.append(f"light of bright regions {light} % against raw")
        return ", ".join(said)

    def _notes(self, known: int, more: str = "") -> str:
        some = f"in {known} of {self.stacks}" if known < self.stacks else ""
        notes = "; ".join(filter(None, (some, more)))
        return f" ({notes})" if notes else ""


def _ends(values: Iterable[float | None]) -> tuple[float, float] | None:
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None


@dataclass(frozen=True)
class NightReport:
    """What happened in a watched folder.

    Parameters
    ----------
    first_at, last_at
        When the first stack was seen, and the last thing happened (s since 1970).
    watched, last_run
        Whether somebody watches now, and how the last watch went.
    counts, doubtful, doubtful_brightness
        Entries per state; how many of the done are doubtful; and in how many others measuring
        brightness is. An entry is a file, or a stack of an acquisition.
    counted
        Stacks, as people count.
    groups
        Why something failed, is doubtful, or was not restored; what failed first.
    signal_to_noise, gain_db, flux_bias_percent
        Their trends, per channel: of the raw stacks; of the restored ones over raw; and of their
        light.
    trust
        How far to trust the results, per channel.
    less_light
        What less light would cost, as last estimated ("": not at all).
    delay
        From the last plane to the result (s): its trend.
    longest_delay
        The longest one (s), and when (s since 1970).
    pace
        Whether restoring keeps up, or kept up at the end.
    missing, without_bars, changed
        Results that are not there any more, whose error bars are not or hold nothing, or that are
        not as they were published.
    renamed
        What is done of raw data that are not there any more: under another name they are restored,
        and counted, once more.
    """

    first_at: float | None
    last_at: float | None
    watched: bool
    last_run: RunRecord
    counts: Mapping[State, int]
    doubtful: int
    doubtful_brightness: int
    counted: Counted
    groups: Sequence[ReasonGroup]
    signal_to_noise: Mapping[str, Trend]
    gain_db: Mapping[str, Trend]
    flux_bias_percent: Mapping[str, Trend]
    trust: Mapping[str, Trust]
    less_light: str
    delay: Trend | None
    longest_delay: tuple[float, float] | None
    pace: Pace
    missing: tuple[StackKey, ...]
    without_bars: tuple[StackKey, ...]
    changed: tuple[StackKey, ...]
    renamed: tuple[StackKey, ...] = ()


def night_report(
    shown: Sequence[ShownEntry],
    last_run: RunRecord,
    results: Mapping[StackKey, ResultState],
    *,
    watched: bool,
    plane_pattern: str | None = None,
) -> NightReport:
    """Put the report together.

    Parameters
    ----------
    shown
        Every entry, with what its report says.
    last_run, watched
        From the journal.
    results
        How each result is found now.
    plane_pattern
        ``files.plane_pattern``.
    """
    entries = [each.entry for each in shown]
    times = [entry.seen_at for entry in entries]
    ends = [entry.finished_at for entry in entries if entry.finished_at is not None]
    delays = sorted(
        (each.entry.finished_at, each.facts.delay_s)
        for each in shown
        if each.facts is not None
        and each.facts.delay_s is not None
        and each.entry.finished_at is not None
    )
    longest = max(delays, key=lambda each: each[1], default=None)

    def found_as(state: ResultState) -> tuple[StackKey, ...]:
        return tuple(key for key, found in results.items() if found is state)

    return NightReport(
        first_at=min(times, default=None),
        last_at=max([*times, *ends], default=None),
        watched=watched,
        last_run=last_run,
        counts={state: sum(entry.state is state for entry in entries) for state in State},
        doubtful=sum(entry.doubtful for entry in entries),
        doubtful_brightness=sum(entry.doubtful_brightness for entry in entries),
        counted=Counted.of(shown),
        groups=grouped(shown, pattern=plane_pattern),
        signal_to_noise=_trends(shown, lambda stack: stack.snr),
        gain_db=_trends(shown, lambda stack: stack.gain_db),
        flux_bias_percent=_trends(shown, lambda stack: stack.flux_bias_percent),
        trust=_trust(shown),
        less_light=_less_light(shown),
        delay=trend_of(delay for _, delay in delays),
        longest_delay=None if longest is None else (longest[1], longest[0]),
        pace=pace_of_entries(shown),
        missing=found_as(ResultState.MISSING),
        without_bars=found_as(ResultState.WITHOUT_BARS),
        changed=found_as(ResultState.CHANGED),
        renamed=found_as(ResultState.WITHOUT_RAW),
    )


def pace_of_entries(shown: Iterable[ShownEntry]) -> Pace:
    """Return whether restoring keeps up with the microscope."""
    return pace_of(
        (each.entry.seen_at, each.entry.finished_at, each.facts.delay_s if each.facts else None)
        for each in shown
        if each.entry.finished_at is not None or each.entry.state in _DUE
    )


def trend_of(values: Iterable[float]) -> Trend | None:
    """Return the trend of values in order of time; ``None`` for too few.

    >>> trend_of([8.0, 8.0, 7.0, 7.0, 6.0, 6.0, 5.0, 5.0])
    Trend(first=8.0, last=5.0)
    >>> trend_of([8.0, 5.0]) is None
    True
    """
    known = list(values)
    if len(known) < _FEWEST:
        return None
    quarter = len(known) // 4
    return Trend(statistics.median(known[:quarter]), statistics.median(known[-quarter:]))


def _trends(
    shown: Iterable[ShownEntry], value_of: Callable[[ShownStack], float | None]
) -> dict[str, Trend]:
    """Return the trend of a value per channel, where it is known often enough."""
    values: dict[str, list[tuple[float, int, float]]] = {}
    for each in shown:
        for stack in each.facts.stacks if each.facts is not None else ():
            value = value_of(stack)
            if value is not None:
                # Of a file of many times all were seen at once.
                at = (each.entry.seen_at, stack.time, value)
                values.setdefault(stack.channel_name, []).append(at)
    trends = {name: trend_of(value for *_, value in sorted(of)) for name, of in values.items()}
    known = {name: trend for name, trend in trends.items() if trend is not None}
    return dict(list(known.items())[:_MOST_CHANNELS])


def _trust(shown: Iterable[ShownEntry]) -> dict[str, Trust]:
    stacks: dict[str, list[ShownStack]] = {}
    for each in shown:
        for stack in each.facts.stacks if each.facts is not None else ():
            if stack.restored:
                stacks.setdefault(stack.channel_name, []).append(stack)
    return {name: Trust.of(of) for name, of in list(stacks.items())[:_MOST_CHANNELS]}


def _less_light(shown: Iterable[ShownEntry]) -> str:
    found = [
        (each.entry.seen_at, stack.time, stack.less_light)
        for each in shown
        for stack in (each.facts.stacks if each.facts is not None else ())
        if stack.less_light
    ]
    return max(found, default=(0.0, 0, ""))[2]
