"""Which planes a stack should have, and whether it is complete. Pure: no disk, no clock.

The best plan there is decides::

    the run's own settings (MdaSettings, a useq sequence)   say it per channel
    intended dimensions                                     overstate: a channel without z-stack
    a later stack began                                     the stack before it is closed
    the run is over                                         what is missing stays missing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from live_restore.formats.dataset import StackEvidence, Stage


class Place(NamedTuple):
    """Which stack of an acquisition, by index."""

    position: int
    time: int
    channel: int


@dataclass(frozen=True)
class Planned:
    """Planes that a stack is to have.

    ``anywhere`` is True for a channel without z-stack: one plane, whose index depends on the
    engine (0, or the middle of the other channels' stack).
    """

    count: int
    anywhere: bool = False

    @property
    def indices(self) -> tuple[int, ...] | None:
        """z indices, ``None`` where only the number is known."""
        return None if self.anywhere else tuple(range(self.count))


class Plan(Protocol):
    """What a run intended."""

    def planes(self, place: Place) -> Planned | None:
        """Return the planes that a stack is to have, ``None`` where the plan does not tell."""
        ...

    def stacks(self) -> int | None:
        """Return how many stacks the run is to have."""
        ...


class NoPlan:
    """Nobody wrote down what was intended."""

    def planes(self, place: Place) -> Planned | None:  # noqa: ARG002
        """Return ``None``."""
        return None

    def stacks(self) -> int | None:
        """Return ``None``."""
        return None


@dataclass(frozen=True)
class ChannelPlan:
    """One channel of a run: with or without z-stack, and at every how many time points."""

    z_stack: bool = True
    every: int = 1


@dataclass(frozen=True)
class SettingsPlan:
    """The run's own settings: true for each channel.

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

    def planes(self, place: Place) -> Planned | None:
        """Return the planes of a stack."""
        if place.channel >= len(self.channels):
            return None
        channel = self.channels[place.channel]
        if place.time % channel.every:
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

    def planes(self, place: Place) -> Planned | None:  # noqa: ARG002
        """Return the planes of a stack."""
        return Planned(self.slices)

    def stacks(self) -> int | None:
        """Return the number of stacks, those that the run skips included."""
        return self.stack_count


@dataclass
class _Stack:
    present: set[int] = field(default_factory=set)
    blank: set[int] = field(default_factory=set)
    closed: bool = False


class Ledger:
    """The planes found so far, in the order in which they were written, and the verdict on them.

    The verdict depends only on the planes, their order and ``over``: a follower that starts anew
    comes to the same.
    """

    def __init__(self) -> None:
        self._stacks: dict[Place, _Stack] = {}
        self._growing: set[Place] = set()
        self._verdicts: dict[Place, StackEvidence] = {}
        self._dirty: set[Place] = set()
        self._judged_with: tuple[Plan, bool] | None = None

    def __contains__(self, place: Place) -> bool:
        return place in self._stacks

    def add(self, place: Place, z: int, *, blank: bool = False) -> None:
        """Take down one plane that is whole on disk."""
        stack = self._stacks.get(place)
        if stack is None:
            # Loops nest: in whatever order, a stack that has two planes gets none after a
            # further stack began. With one plane this cannot be told (z may be an outer loop).
            for other in self._growing:
                self._stacks[other].closed = True
            self._dirty |= self._growing
            self._growing.clear()
            stack = self._stacks[place] = _Stack()
        (stack.blank if blank else stack.present).add(z)
        (stack.present if blank else stack.blank).discard(z)
        if len(stack.present) + len(stack.blank) >= 2:
            stack.closed = False
            self._growing.add(place)
        self._dirty.add(place)

    def verdicts(self, plan: Plan, over: bool) -> Mapping[Place, StackEvidence]:
        """Return the evidence on every stack that has begun."""
        changed = self._judged_with != (plan, over)
        usual = self._usual() if over and (changed or self._dirty) else {}
        everything = changed or (over and bool(self._dirty))
        for place in self._stacks if everything else self._dirty:
            self._verdicts[place] = self._verdict(place, plan, over, usual)
        self._dirty.clear()
        self._judged_with = (plan, over)
        return self._verdicts

    def _usual(self) -> dict[int | None, tuple[int, int]]:
        """Return, by channel (and ``None``: over all), the largest stack and how many are so."""
        usual: dict[int | None, tuple[int, int]] = {}
        for place, stack in self._stacks.items():
            size = len(stack.present) + len(stack.blank)
            for group in (place.channel, None):
                largest, times = usual.get(group, (0, 0))
                if size >= largest:
                    usual[group] = (size, times + 1 if size == largest else 1)
        return usual

    def _verdict(
        self, place: Place, plan: Plan, over: bool, usual: Mapping[int | None, tuple[int, int]]
    ) -> StackEvidence:
        stack = self._stacks[place]
        planned = plan.planes(place)
        found = stack.present | stack.blank
        if planned is not None and not planned.anywhere and not found <= set(planned.indices or ()):
            planned = None  # the run did something else than was planned
        if planned is not None and planned.anywhere and len(found) > planned.count:
            planned = None
        if planned is None:
            return _without_plan(stack, over, usual, place.channel)
        if over and not planned.anywhere and len(found) == 1 < planned.count:
            # Intended dimensions overstate: this channel had no z-stack all along.
            largest, times = usual[place.channel]
            if isinstance(plan, IntendedPlan) and largest == 1 and times > 1:
                planned = Planned(1, anywhere=True)
        return _with_plan(stack, planned, over)


def _with_plan(stack: _Stack, planned: Planned, over: bool) -> StackEvidence:
    found = stack.present | stack.blank
    indices = planned.indices
    if len(found) == planned.count and indices is None:
        indices = tuple(sorted(found))
    if len(stack.present) == planned.count:
        stage, reason = Stage.COMPLETE, "every planned plane is there"
    elif over:
        stage, reason = Stage.PARTIAL, _missing(stack, planned.count)
    else:
        stage, reason = Stage.ARRIVING, _missing(stack, planned.count)
    return _evidence(stage, stack, planned.count, indices, reason)


def _missing(stack: _Stack, count: int) -> str:
    text = f"{len(stack.present)} of {count} planes"
    if stack.blank:
        text += f", {len(stack.blank)} hold nothing but zeros"
    return text


def _without_plan(
    stack: _Stack, over: bool, usual: Mapping[int | None, tuple[int, int]], channel: int
) -> StackEvidence:
    """Judge by what the other stacks look like, as nothing says what was intended."""
    found = stack.present | stack.blank
    even = max(found) - min(found) + 1 == len(found)
    if stack.blank or not even:
        what = "some planes hold nothing but zeros" if stack.blank else "planes between are missing"
        stage = Stage.PARTIAL if over else Stage.ARRIVING
        return _evidence(stage, stack, None, None, what)
    indices = tuple(sorted(found))
    if not over:
        if stack.closed:
            return _evidence(Stage.COMPLETE, stack, len(found), indices, "a later stack has begun")
        return _evidence(Stage.ARRIVING, stack, None, None, "nothing tells how many planes follow")
    largest, times = usual[channel]
    alike = times > 1 or (usual[None] == (largest, usual[None][1]) and usual[None][1] > 1)
    if len(found) < largest:
        reason = f"{len(found)} planes, other stacks of this channel have {largest}"
        return _evidence(Stage.PARTIAL, stack, largest, None, reason)
    if alike or stack.closed:
        return _evidence(
            Stage.COMPLETE, stack, len(found), indices, "as many planes as the other stacks have"
        )
    return _evidence(Stage.PARTIAL, stack, None, None, "nothing tells how many planes were planned")


def _evidence(
    stage: Stage,
    stack: _Stack,
    count: int | None,
    indices: tuple[int, ...] | None,
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
