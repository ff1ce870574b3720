"""What a person is told of, and when again: rules with a hold-off. Pure.

A *cause* is what a person would act on: not each failed stack, but that stacks fail for one reason.

::

    not there ──> told ──(hold-off over, and worse)──> told again
                    └──(gone)──> not there; comes back within the hold-off: nothing is told
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from live_restore.journal.facts import NORMAL_ENDS, RunRecord
from live_restore.journal.states import State
from live_restore.overview.entries import ShownEntry
from live_restore.overview.reasons import grouped
from live_restore.settings.alerts import AlertSettings

_RECENT = 20
"""Results of which the share of doubtful ones is taken, as of what is judged for the pace."""
_FEWEST = 5
_MOST_CAUSES = 20


@dataclass(frozen=True)
class Cause:
    """Something a person should know.

    Parameters
    ----------
    name
        The same for as long as it is the same cause.
    title, text
        For people; text from files is in it.
    measure
        How bad it is: more is told again, when the hold-off is over.
    """

    name: str
    title: str
    text: str
    measure: float = 0.0


@dataclass(frozen=True)
class Situation:
    """A run at one moment.

    Parameters
    ----------
    shown
        Every entry.
    watched, last_run
        Whether somebody watches, and how that began and ended.
    since
        What failed or finished before is nobody's concern any more (s since 1970).
    disk_free_bytes
        Of the disk of the watched folder; ``None``: not known.
    """

    shown: Sequence[ShownEntry]
    watched: bool
    last_run: RunRecord
    since: float = 0.0
    disk_free_bytes: int | None = None


def causes_in(situation: Situation, rules: AlertSettings, now: float) -> list[Cause]:
    """Return what holds of the rules.

    Parameters
    ----------
    situation
        What is known.
    rules
        Which of it matters; 0 switches a rule off.
    now
        The time (s since 1970).
    """
    found = [*_ended(situation, rules)]
    if situation.watched:
        found += [*_behind(situation, rules), *_quiet(situation, rules, now)]
    found += [*_failed(situation, rules), *_doubtful(situation, rules), *_disk(situation, rules)]
    return found[:_MOST_CAUSES]


def _ended(situation: Situation, rules: AlertSettings) -> Iterable[Cause]:
    if situation.watched or not rules.died:
        return
    why = situation.last_run.how_it_ended(watched=False)
    if why and not why.startswith(NORMAL_ENDS):
        yield Cause(
            "died", "live-restore does not run any more",
            f"{why}. Nothing is lost: start live-restore watch again, and it goes on.",
        )  # fmt: skip


def _behind(situation: Situation, rules: AlertSettings) -> Iterable[Cause]:
    waiting = sum(each.entry.state in (State.WAITING, State.RUNNING) for each in situation.shown)
    if rules.behind_stacks and waiting > rules.behind_stacks:
        paused = " It is paused." if situation.last_run.paused else ""
        yield Cause(
            "behind", f"{waiting} stacks wait to be restored",
            f"Restoring falls behind the microscope.{paused} Nothing is lost.", waiting,
        )  # fmt: skip


def _quiet(situation: Situation, rules: AlertSettings, now: float) -> Iterable[Cause]:
    last = max((each.entry.seen_at for each in situation.shown), default=None)
    if not rules.quiet_min or last is None:
        return
    minutes = (now - max(last, situation.since)) / 60
    if minutes > rules.quiet_min:
        yield Cause(
            "quiet", f"nothing has arrived for {minutes:.0f} minutes",
            "Does the acquisition still run?", last,
        )  # fmt: skip


def _failed(situation: Situation, rules: AlertSettings) -> Iterable[Cause]:
    if not rules.failed:
        return
    recent = [
        each for each in situation.shown
        if each.entry.state is State.FAILED
        # What no source could make sense of was never begun, and has no end.
        and (each.entry.finished_at or each.entry.seen_at) >= situation.since
    ]  # fmt: skip
    for group in grouped(recent):
        names = ", ".join(str(key) for key in group.keys[:3])
        yield Cause(
            f"failed: {group.kind}", f"{group.count} not restored",
            f"{group.reason}. {group.remedy}\n{names}", group.count,
        )  # fmt: skip


def _doubtful(situation: Situation, rules: AlertSettings) -> Iterable[Cause]:
    done = [each.entry for each in situation.shown if each.entry.state is State.DONE]
    last = sorted(
        (entry for entry in done if (entry.finished_at or 0.0) >= situation.since),
        key=lambda entry: entry.finished_at or 0.0,
    )[-_RECENT:]
    if not rules.doubtful_share or len(last) < _FEWEST:
        return
    doubtful = [entry for entry in last if entry.doubtful]
    share = len(doubtful) / len(last)
    if share > rules.doubtful_share:
        yield Cause(
            "doubtful", f"{len(doubtful)} of the last {len(last)} results are doubtful",
            doubtful[-1].reason, share,
        )  # fmt: skip


def _disk(situation: Situation, rules: AlertSettings) -> Iterable[Cause]:
    free = situation.disk_free_bytes
    if rules.disk_free_gb and free is not None and free < rules.disk_free_gb * 1e9:
        yield Cause(
            "disk", f"{free / 1e9:.1f} GB are free on the disk",
            "Restoring waits when it is full, and so may the acquisition.", -free / 1e9,
        )  # fmt: skip


class HoldOff:
    """Remembers what was told, so that one cause is one message.

    Parameters
    ----------
    hold_off_s
        A cause that was told is not told again within this time (s).

    Examples
    --------
    >>> hold_off = HoldOff(600)
    >>> first, worse = Cause("behind", "21 wait", ""), Cause("behind", "90 wait", "", 90.0)
    >>> [c.title for c in hold_off.due([first], now=0)]
    ['21 wait']
    >>> hold_off.told(first, now=0)
    >>> [c.title for c in hold_off.due([worse], now=599)]
    []
    >>> [c.title for c in hold_off.due([worse], now=601)]
    ['90 wait']
    """

    def __init__(self, hold_off_s: float) -> None:
        self._hold_off_s = hold_off_s
        self._told: dict[str, tuple[float, float]] = {}

    def due(self, causes: Sequence[Cause], now: float) -> list[Cause]:
        """Return what is to be told now (s, any clock)."""
        here = {cause.name for cause in causes}
        # What has gone, and was told long enough ago, is new when it comes back.
        self._told = {
            name: (at, measure)
            for name, (at, measure) in self._told.items()
            if name in here or now - at <= self._hold_off_s
        }
        return [cause for cause in causes if self._is_due(cause, now)]

    def told(self, cause: Cause, now: float) -> None:
        """Remember that a person has been told."""
        self._told[cause.name] = (now, cause.measure)

    def _is_due(self, cause: Cause, now: float) -> bool:
        if cause.name not in self._told:
            return True
        at, measure = self._told[cause.name]
        return now - at > self._hold_off_s and cause.measure > measure
