"""Where subjects come from: the simulator, folders of pairs, folders of clean stacks.

A source gives a subject for every number, the same one whenever and wherever it is asked: in this
process, in another, or in a run that goes on next week.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from live_restore.errors import StackRefusedError
from live_restore.inference.image.intensity import scale_from_percentiles
from live_restore_export.simulator.simulate import SimulationConfig, simulate_scene
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.patches import foreground_places
from live_restore_export.training.stacks import PairRef, StackRef, read_stack
from live_restore_export.training.subjects import Pair, Scene, Subject, fitted_truth_scale
from live_restore_export.training.twin import BLACK_PERCENT, WHITE_PERCENT, signal_of


class Source(Protocol):
    """Gives subjects by number, from 0."""

    @property
    def stacks(self) -> int | None:
        """How many different ones there are; ``None``: endless."""
        ...

    def load(self, number: int) -> Subject:
        """Return the subject of that number; raises ``StackError``."""
        ...


@dataclass(frozen=True)
class SimulatedSource:
    """Scenes of the simulator; number n has the seed ``first_seed + n``."""

    simulation: SimulationConfig
    first_seed: int

    @property
    def stacks(self) -> None:
        """Endless."""
        return

    def load(self, number: int) -> Scene:
        """Draw a scene."""
        seed = self.first_seed + number
        scene = simulate_scene(self.simulation, seed)
        places = foreground_places(scene.signal, seed)
        return Scene(scene.signal, scene.truth, places, self.simulation)


def _turn(number: int, count: int, seed: int | None) -> int:
    """Return which of ``count`` stacks has its turn: each once, then each once again.

    In a new order every round, drawn from ``seed``; ``None``: in the order of their names.
    """
    turns, place = divmod(number, count)
    if seed is None:
        return place
    return int(np.random.default_rng((seed, turns)).permutation(count)[place])


@dataclass(frozen=True)
class PairedSource:
    """Measured pairs."""

    pairs: tuple[PairRef, ...]
    options: TrainingOptions
    truth_scale: Literal["fit", "percentiles"]
    order_seed: int | None = None

    @property
    def stacks(self) -> int:
        """How many pairs there are."""
        return len(self.pairs)

    def load(self, number: int) -> Pair:
        """Read a pair and find its scales."""
        chosen = _turn(number, self.stacks, self.order_seed)
        ref, ranks = self.pairs[chosen], self.options.percentiles
        raw, truth = read_stack(ref.raw, ranks), read_stack(ref.truth, ranks)
        raw_scale = scale_from_percentiles(raw, *ranks).of_any_unit()
        if self.truth_scale == "fit":
            try:
                scale = fitted_truth_scale(raw, truth, raw_scale, ref.raw.label)
            except StackRefusedError as error:
                raise StackRefusedError(error.what, ref.raw.path, error.remedy) from error
        else:
            scale = scale_from_percentiles(truth, *ranks).of_any_unit()
        return Pair(raw, truth, raw_scale, scale, foreground_places(truth, chosen))


@dataclass(frozen=True)
class CleanSource:
    """Clean stacks, to be photographed at low light."""

    refs: tuple[StackRef, ...]
    simulation: SimulationConfig
    order_seed: int | None = None

    @property
    def stacks(self) -> int:
        """How many stacks there are."""
        return len(self.refs)

    def load(self, number: int) -> Scene:
        """Read a stack as light."""
        chosen = _turn(number, self.stacks, self.order_seed)
        signal = signal_of(read_stack(self.refs[chosen], (BLACK_PERCENT, WHITE_PERCENT)))
        return Scene(signal, signal, foreground_places(signal, chosen), self.simulation)
