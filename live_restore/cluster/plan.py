"""How many GPUs for how many microscopes? A discrete-event model of a cluster. Pure.

::

    microscope ──> waits ──> network in ──> waits ──> GPU ──> network out ──> restored
                     │       (one link,               (first come,
                     │        one after the other)     first served)
                     └── at most ``stacks_ahead`` of each microscope are beyond here

Everything takes the time that it takes on average; what varies is when the microscopes' time points
fall together.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

MOST_GPUS = 256
"""Nobody who asks has more."""
MOST_STACKS = 1000
"""Of all microscopes together, per time point: an hour of them is played in some seconds."""
# Enough time points that what once fell together falls apart again, and a second's computing.
_TIME_POINTS = 60
_SEED = 20261128


@dataclass(frozen=True)
class Site:
    """What there is, and what it does.

    Parameters
    ----------
    instruments
        Microscopes that record at the same time.
    every_s
        Time between two time points of one (s).
    stacks
        Stacks of each time point: positions times channels.
    stack_mvoxel
        Size of a stack (million voxels).
    gpus
        GPUs that restore.
    gpu_mvoxel_per_s
        What one does, as ``live-restore bench`` measures it (million voxels per second).
    per_stack_s
        What a stack costs the worker beside that (s): the question that goes with it, and Dask.
        Measured on two CPU cores, of 32 x 512 x 512: 0.08 to 0.14.
    network_mb_per_s
        Of the GPU computer's link, in each direction (MB/s): 110 with gigabit Ethernet.
    voxel_bytes
        Of raw data and of results.
    stacks_ahead
        As in the settings.
    """

    instruments: int
    every_s: float
    stacks: int = 1
    stack_mvoxel: float = 8.4
    gpus: int = 1
    gpu_mvoxel_per_s: float = 100.0
    per_stack_s: float = 0.1
    network_mb_per_s: float = 110.0
    voxel_bytes: int = 2
    stacks_ahead: int = 2

    @property
    def gpu_s(self) -> float:
        """What a stack takes on a GPU (s)."""
        return self.stack_mvoxel / self.gpu_mvoxel_per_s + self.per_stack_s

    @property
    def link_s(self) -> float:
        """What a stack takes in each direction of the network (s)."""
        return self.stack_mvoxel * self.voxel_bytes / self.network_mb_per_s

    @property
    def stacks_per_s(self) -> float:
        """How many stacks are recorded, of all microscopes together."""
        return self.instruments * self.stacks / self.every_s

    @property
    def gpu_load(self) -> float:
        """Share of the time that the GPUs are busy; above 1 they never catch up."""
        return self.stacks_per_s * self.gpu_s / self.gpus

    @property
    def network_load(self) -> float:
        """The same of each direction of the network."""
        return self.stacks_per_s * self.link_s


@dataclass(frozen=True)
class Forecast:
    """What comes of it.

    Parameters
    ----------
    site
        Of what.
    median_s, late_s
        Delay from a stack's recording to its result: of half of them, and of 95 in a hundred (s).
    most_waiting
        Stacks that waited at their microscopes at the worst moment, of all together.
    """

    site: Site
    median_s: float
    late_s: float
    most_waiting: int

    @property
    def keeps_up(self) -> bool:
        """Whether results come as fast as stacks are recorded, for ever."""
        return self.site.gpu_load < 1 and self.site.network_load < 1


def forecast(site: Site) -> Forecast:
    """Return what a site would do, by playing an hour or so of it.

    Examples
    --------
    >>> alone = forecast(Site(1, 10.0, stack_mvoxel=10, gpu_mvoxel_per_s=10, per_stack_s=0))
    >>> round(alone.median_s, 2), alone.keeps_up
    (1.36, True)
    """
    delays, most = _Model(site).play()
    delays.sort()
    late = delays[min(len(delays) - 1, math.ceil(0.95 * len(delays)) - 1)]
    return Forecast(site, delays[len(delays) // 2], late, most)


def fewest_gpus(site: Site, within_s: float) -> Forecast | None:
    """Return the forecast for the fewest GPUs with which 95 of 100 stacks are restored in time.

    Parameters
    ----------
    site
        Its number of GPUs does not count.
    within_s
        How late a result may be (s).

    Returns
    -------
    Forecast or None
        ``None`` where no number of GPUs would do: the network is too slow, or one GPU.

    Examples
    --------
    >>> found = fewest_gpus(Site(10, 10.0, gpu_mvoxel_per_s=4.2, per_stack_s=0.0), 10.0)
    >>> found.site.gpus
    3
    """
    fewest = max(1, math.ceil(site.stacks_per_s * site.gpu_s))
    for gpus in range(fewest, MOST_GPUS + 1):
        found = forecast(replace(site, gpus=gpus))
        if found.keeps_up and found.late_s <= within_s:
            return found
        if gpus >= site.instruments * min(site.stacks, site.stacks_ahead):
            return None  # none of them would ever be used
    return None


@dataclass
class _Line:
    """Servers in front of which stacks queue."""

    servers: int
    takes_s: float
    waiting: deque[tuple[float, int]] = field(default_factory=deque)
    busy: int = 0


class _Model:
    """Plays a site. An event is a time, a number that keeps the order, and what happens then."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._at_instrument: list[deque[float]] = [deque() for _ in range(site.instruments)]
        self._ahead = [0] * site.instruments
        self._in = _Line(1, site.link_s)
        self._gpu = _Line(site.gpus, site.gpu_s)
        self._out = _Line(1, site.link_s)
        self._delays: list[float] = []
        self._waiting = self._most_waiting = 0

    def play(self) -> tuple[list[float], int]:
        """Return every stack's delay (s), and how many waited at most."""
        chance = random.Random(_SEED)  # noqa: S311 - no secret
        for instrument in range(self._site.instruments):
            start = chance.uniform(0, self._site.every_s)
            for number in range(_TIME_POINTS):
                at = start + number * self._site.every_s
                self._later(at, lambda now, i=instrument: self._recorded(now, i))  # type: ignore[misc]
        while self._events:
            now, _, happens = heapq.heappop(self._events)
            happens(now)
        return self._delays, self._most_waiting

    def _later(self, at: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), happens))

    def _recorded(self, now: float, instrument: int) -> None:
        self._at_instrument[instrument].extend([now] * self._site.stacks)
        self._waiting += self._site.stacks
        self._send(now, instrument)
        self._most_waiting = max(self._most_waiting, self._waiting)

    def _send(self, now: float, instrument: int) -> None:
        queue = self._at_instrument[instrument]
        while queue and self._ahead[instrument] < self._site.stacks_ahead:
            self._ahead[instrument] += 1
            self._waiting -= 1
            self._enter(now, self._in, (queue.popleft(), instrument))

    def _enter(self, now: float, line: _Line, stack: tuple[float, int]) -> None:
        line.waiting.append(stack)
        self._serve(now, line)

    def _serve(self, now: float, line: _Line) -> None:
        while line.waiting and line.busy < line.servers:
            line.busy += 1
            stack = line.waiting.popleft()
            self._later(now + line.takes_s, lambda at, s=stack: self._leave(at, line, s))  # type: ignore[misc]

    def _leave(self, now: float, line: _Line, stack: tuple[float, int]) -> None:
        line.busy -= 1
        self._serve(now, line)
        if line is not self._out:
            self._enter(now, self._gpu if line is self._in else self._out, stack)
            return
        recorded_at, instrument = stack
        self._delays.append(now - recorded_at)
        self._ahead[instrument] -= 1
        self._send(now, instrument)
