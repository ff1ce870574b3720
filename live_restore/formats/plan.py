"""Which planes a stack should have, and whether it is whole. Pure: no disk, no clock.

The best plan there is decides::

    the engine's settings (MdaSettings, a useq sequence)    say it per channel
    intended dimensions                                     overstate: a channel without z-stack
    a later stack began                                     the stack before it is closed
    the acquisition is over                                 what is missing stays missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from live_restore.formats.acquisition_format import AcquisitionPlan, Planned, StackEvidence, Stage
from live_restore.stack import StackIndex


@dataclass(frozen=True)
class NoPlan:
    """Nobody wrote down what was intended."""

    def planes(self, stack_index: StackIndex) -> Planned | None:  # noqa: ARG002
        """Return ``None``."""
        return None

    def stacks(self) -> int | None:
        """Return ``None``."""
        return None


@dataclass(frozen=True)
class ChannelPlan:
    """One channel of an acquisition: with or without z-stack, and at every how many time points."""

    z_stack: bool = True
    every: int = 1


@dataclass(frozen=True)
class SettingsPlan:
    """The engine's own settings: true for each channel.

    Parameters
    ----------
    slices
        Planes of a full z-stack.
    channels
        By channel index on disk.
    times, positions
        How many.
    """

    slices: int
    channels: tuple[ChannelPlan, ...]
    times: int = 1
    positions: int = 1

    def planes(self, stack_index: StackIndex) -> Planned | None:
        """Return the planes of a stack."""
        if stack_index.channel >= len(self.channels):
            return None
        channel = self.channels[stack_index.channel]
        if stack_index.time % channel.every:
            return None
        return Planned(self.slices) if channel.z_stack else Planned(1, anywhere=True)

    def stacks(self) -> int | None:
        """Return the number of stacks, single planes included."""
        return self.positions * sum(-(-self.times // each.every) for each in self.channels)


@dataclass(frozen=True)
class IntendedPlan:
    """Intended dimensions: an upper bound, the same for every channel."""

    slices: int
    stack_count: int | None = None

    def planes(self, stack_index: StackIndex) -> Planned | None:  # noqa: ARG002
        """Return the planes of a stack."""
        return Planned(self.slices)

    def stacks(self) -> int | None:
        """Return the number of stacks, those that the acquisition skips included."""
        return self.stack_count


@dataclass
class _Stack:
    present: set[int] = field(default_factory=set)
    blank: set[int] = field(default_factory=set)
    closed: bool = False
    short: bool = False
    twice: set[int] = field(default_factory=set)

    @property
    def size(self) -> int:
        """Planes on disk, blank ones included."""
        return len(self.present | self.blank)


class Ledger:
    """The planes found so far, in the order in which they were written, and what they prove.

    The evidence rests only on the planes, their order and ``over``: a follower that starts anew
    comes to the same.
    """

    def __init__(self) -> None:
        self._stacks: dict[StackIndex, _Stack] = {}
        self._growing: set[StackIndex] = set()
        # Positions may differ in depth: each is held against itself, and only one of which nothing
        # is known yet against the others.
        self._full_size: dict[tuple[int | None, int | None], int] = {}
        self._evidence: dict[StackIndex, StackEvidence] = {}
        self._dirty: set[StackIndex] = set()
        self._judged_with: tuple[AcquisitionPlan, bool] | None = None

    def __contains__(self, stack_index: StackIndex) -> bool:
        return stack_index in self._stacks

    def add(self, stack_index: StackIndex, z: int, *, blank: bool = False) -> None:
        """Record one plane that is whole on disk."""
        stack = self._stacks.get(stack_index)
        if stack is None:
            # Loops nest: in whatever order, a stack that has two planes gets none after a
            # further stack began. With one plane this is unknown (z may be an outer loop).
            self._close_growing()
            stack = self._stacks[stack_index] = _Stack()
        (stack.blank if blank else stack.present).add(z)
        (stack.present if blank else stack.blank).discard(z)
        if stack.size >= 2:
            stack.closed = False
            self._growing.add(stack_index)
        self._dirty.add(stack_index)

    def refuse(self, stack_index: StackIndex, z: int) -> None:
        """Record that two images are on disk for one plane: which is meant, nobody can say."""
        self._stacks[stack_index].twice.add(z)
        self._dirty.add(stack_index)

    def _close_growing(self) -> None:
        for stack_index in sorted(self._growing):
            stack = self._stacks[stack_index]
            position, channel = stack_index.position, stack_index.channel
            full = max(stack.size, self._full_size.get((position, channel), 0))
            stack.closed, stack.short = True, stack.size < full
            self._full_size[position, channel] = full
            for wider in ((None, channel), (None, None)):
                self._full_size[wider] = max(full, self._full_size.get(wider, 0))
        self._dirty |= self._growing
        self._growing.clear()

    def evidence(self, plan: AcquisitionPlan, over: bool) -> Mapping[StackIndex, StackEvidence]:
        """Return the evidence on every stack that has begun."""
        if self._judged_with != (plan, over) or (over and self._dirty):
            self._dirty.update(self._stacks)  # each may rest on the other stacks
        flat = self._flat_channels() if over and self._dirty else set()
        for stack_index in self._dirty:
            self._evidence[stack_index] = self._judge(stack_index, plan, over, flat)
        self._dirty.clear()
        self._judged_with = (plan, over)
        return self._evidence

    def _flat_channels(self) -> set[int]:
        """Return the channels of which every stack, and more than one, is a single plane."""
        sizes: dict[int, list[int]] = {}
        for stack_index, stack in self._stacks.items():
            sizes.setdefault(stack_index.channel, []).append(stack.size)
        return {channel for channel, each in sizes.items() if len(each) > 1 and max(each) == 1}

    def _judge(
        self, stack_index: StackIndex, plan: AcquisitionPlan, over: bool, flat: set[int]
    ) -> StackEvidence:
        stack = self._stacks[stack_index]
        if stack.twice:
            return _evidence(Stage.REFUSED, stack, None, None, _twice(stack))
        planned = plan.planes(stack_index)
        found = stack.present | stack.blank
        if planned is not None and planned.indices is not None:
            within = planned.indices
            if not all(z in within for z in found):
                planned = None  # something else was recorded than was planned
        if planned is not None and planned.anywhere and len(found) > planned.count:
            planned = None
        if planned is None:
            position, channel = stack_index.position, stack_index.channel
            sizes = (
                self._full_size.get(which)
                for which in ((position, channel), (None, channel), (None, None))
            )
            full = next((size for size in sizes if size is not None), None)
            return _without_plan(stack, over, full, stack_index.channel in flat)
        if over and stack_index.channel in flat and isinstance(plan, IntendedPlan):
            # Intended dimensions overstate: this channel had no z-stack all along.
            planned = Planned(1, anywhere=True)
        return _with_plan(stack, planned, over)


def _with_plan(stack: _Stack, planned: Planned, over: bool) -> StackEvidence:
    found = stack.present | stack.blank
    indices: Sequence[int] | None = planned.indices
    if len(found) == planned.count and indices is None:
        indices = tuple(sorted(found))
    if len(stack.present) == planned.count:
        stage, reason = Stage.COMPLETE, "every planned plane is there"
    elif over:
        stage, reason = Stage.PARTIAL, _missing(stack, planned.count)
    else:
        stage, reason = Stage.ARRIVING, _missing(stack, planned.count)
    return _evidence(stage, stack, planned.count, indices, reason)


def _twice(stack: _Stack) -> str:
    return (
        f"{len(stack.twice)} of its planes were recorded twice, as two cameras do that write under "
        "the same axes; give each camera a channel of its own"
    )


def _missing(stack: _Stack, count: int) -> str:
    text = f"{len(stack.present)} of {count} planes"
    if stack.blank:
        text += f", {len(stack.blank)} hold nothing but zeros"
    return text


def _without_plan(stack: _Stack, over: bool, full: int | None, flat: bool) -> StackEvidence:
    """Judge by the order of writing and by the other stacks: nothing says what was intended.

    ``full`` is the size of the largest stack that a later one followed, of the same position and
    channel if there is one, else of the same channel; ``flat`` says that no stack of the channel
    has more than one plane.
    """
    found = stack.present | stack.blank
    indices = tuple(sorted(found))
    unfinished = Stage.PARTIAL if over else Stage.ARRIVING
    if stack.blank:
        what = f"{len(stack.blank)} of {len(found)} planes hold nothing but zeros"
        return _evidence(unfinished, stack, None, None, what)
    if indices[-1] - indices[0] + 1 != len(indices):
        return _evidence(unfinished, stack, None, None, "planes between are missing")
    if stack.closed and not stack.short:
        return _evidence(Stage.COMPLETE, stack, len(found), indices, "a later stack has begun")
    if stack.closed:
        what = f"{len(found)} planes, stacks before it had {full}"
        return _evidence(unfinished, stack, full, None, what)
    if over and (len(found) == full or flat):
        what = "as many planes as the other stacks have"
        return _evidence(Stage.COMPLETE, stack, len(found), indices, what)
    what = "nothing tells how many planes were planned"
    if full is not None:
        what = f"{len(found)} planes, other stacks have {full}"
    return _evidence(unfinished, stack, full, None, what)


def _evidence(
    stage: Stage,
    stack: _Stack,
    count: int | None,
    indices: Sequence[int] | None,
    reason: str,
) -> StackEvidence:
    return StackEvidence(
        stage,
        tuple(sorted(stack.present)),
        count,
        indices,
        tuple(sorted(stack.blank)),
        reason,
    )
