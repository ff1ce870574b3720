"""Does a time-lapse keep its brightness and sharpness, restored against raw?

A cell that brightens does so in the raw stacks, too. Where a restored stack jumps and its raw one
does not, the model made the jump.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from live_restore.stack import FileStacks, StackIndex
from live_restore.trust.stack_trust import StackTrust

# Of the stacks before; so many are compared with, and fewer tell nothing.
_COMPARED, _FEWEST = 5, 3
# More than these, and what the estimates may be wrong by, is a jump. From one stack to the next of
# a moving cell at 3 to 30 photo-electrons they differed by less (docs/explanation/trust.md).
_BRIGHTNESS_JUMP, _SHARPNESS_JUMP = 0.05, 0.15
# Time-lapses that are remembered, the last ones: a plate of 384 wells in four channels.
_MOST_SERIES = 2048


@dataclass(frozen=True)
class Moment:
    """What is compared of one time point: restored over raw, and the error of that as a share."""

    time: int
    brightness: tuple[float, float] | None = None
    sharpness: tuple[float, float] | None = None

    @classmethod
    def of(cls, time: int, trust: StackTrust) -> Moment:
        """Return what is known of a stack."""
        flux, sharp = trust.flux, trust.sharpness
        brightness = sharpness = None
        if flux is not None and flux.bias_percent is not None and flux.error_percent is not None:
            brightness = (1 + flux.bias_percent / 100, flux.error_percent / 100)
        if sharp is not None:
            sharpness = (sharp.restored / sharp.raw, sharp.error)
        return cls(time, brightness, sharpness)


def jumps(earlier: Iterable[Moment], now: Moment) -> tuple[str, ...]:
    """Return what jumped in a restored stack and did not in its raw one, a doubt each.

    Parameters
    ----------
    earlier
        What is known of the same time-lapse.
    now
        The stack that is asked for.
    """
    before = sorted((m for m in earlier if m.time < now.time), key=lambda m: m.time)
    found = (
        ("brightness", "brighter", "dimmer", _BRIGHTNESS_JUMP, now.brightness,
         [m.brightness for m in before]),
        ("sharpness", "sharper", "less sharp", _SHARPNESS_JUMP, now.sharpness,
         [m.sharpness for m in before]),
    )  # fmt: skip
    return tuple(
        f"its {what} jumps: {100 * abs(change):.0f} % {more if change > 0 else less} than in the "
        "time points before, against the raw stacks; compare them"
        for what, more, less, allowed, here, there in found
        if (change := _change(here, there, allowed))
    )


def _change(
    here: tuple[float, float] | None, there: Iterable[tuple[float, float] | None], allowed: float
) -> float:
    """Return by what share a value left those before, 0 where it is within what is allowed."""
    known = [each for each in there if each is not None and each[0] > 0][-_COMPARED:]
    if here is None or here[0] <= 0 or len(known) < _FEWEST:
        return 0.0
    usual = statistics.median(value for value, _ in known)
    error = here[1] + statistics.median(error for _, error in known)
    change = here[0] / usual - 1
    return change if abs(math.log1p(change)) > allowed + error else 0.0


class TimeLapses:
    """Remembers the last time points of each time-lapse; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Path, int, int], deque[Moment]] = OrderedDict()

    def judged(self, file_stacks: FileStacks, index: StackIndex, trust: StackTrust) -> StackTrust:
        """Return what a stack's numbers mean, in the light of the time points before it.

        Parameters
        ----------
        file_stacks, index
            The file, and which of its stacks it is. Of files of one time point each, nobody can
            tell whether they are one time-lapse.
        trust
            What is known of the stack alone.
        """
        place = _place(file_stacks, index)
        if place is None:
            return trust
        series, time = place
        now = Moment.of(time, trust)
        with self._lock:
            known = self._known.setdefault(series, deque(maxlen=2 * _COMPARED))
            self._known.move_to_end(series)
            while len(self._known) > _MOST_SERIES:
                self._known.popitem(last=False)
            earlier = list(known)
            known.append(now)
        return replace(trust, doubts=(*trust.doubts, *jumps(earlier, now)))


def _place(file_stacks: FileStacks, index: StackIndex) -> tuple[tuple[Path, int, int], int] | None:
    """Return time-lapse and time point; ``None`` for what is none."""
    own = StackIndex.from_label(file_stacks.path.name)
    if own is not None:  # a stack of an acquisition folder
        return (file_stacks.path.parent, own.position, own.channel), own.time
    if file_stacks.times < 2:
        return None
    return (file_stacks.path, index.position, index.channel), index.time
