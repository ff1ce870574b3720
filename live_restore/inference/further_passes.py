"""What further passes of the network tell about a result: of some stacks, since they take time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.image.gain import (
    MOST_GIVEN_BACK,
    Gain,
    gain_over_raw,
    part_to_look_at,
    probe,
    variance_of,
)
from live_restore.inference.image.intensity import IntensityScale, scale_from_percentiles
from live_restore.inference.image.less_light import SHARES, Dealt, LessLight, less_light
from live_restore.inference.image.residual import GivenBack
from live_restore.inference.image.thinning import thinned
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]
Network = Callable[[Volume, IntensityScale], _Floats]
"""Makes of (Z, Y, X), in ADU, a restored stack in ADU."""

# Voxels of a whole stack that tell the scale of one of less light: 500 are above its percentile
# of 99.9.
_SCALE_VOXELS = 2**19


@dataclass(frozen=True)
class Further:
    """What was found out about one stack.

    Parameters
    ----------
    gain, less_light
        ``less_light`` is ``None`` where only the gain was due.
    seconds
        What each took.
    """

    gain: Gain
    less_light: LessLight | None
    seconds: dict[str, float]

    def of_result(self, given_back: GivenBack | None) -> Further:
        """Return this of a result that got so much back: more than a little makes it another's."""
        if given_back is None or given_back.share < MOST_GIVEN_BACK:
            return self
        less = None if self.less_light is None else self.less_light.of_another_result()
        return replace(self, gain=self.gain.of_another_result(), less_light=less)


class Turns:
    """Decides, stack after stack, what is asked of it, here or on another computer.

    Parameters
    ----------
    gain_every, less_light_every
        The gain of one stack in so many, the first among them; and of one in so many of these, what
        less light would cost. 0: of none.
    """

    def __init__(self, gain_every: int, less_light_every: int) -> None:
        self._gain_every = gain_every
        self._less_light_every = less_light_every
        self._numbers = itertools.count()

    def next(self) -> tuple[bool, bool]:
        """Return whether the gain of the next stack is due, and what less light would cost."""
        number = next(self._numbers)
        gain = bool(self._gain_every) and number % self._gain_every == 0
        every = self._gain_every * self._less_light_every
        return gain, gain and bool(every) and number % every == 0


class FurtherPasses:
    """Runs what is due.

    Parameters
    ----------
    gain_every, less_light_every
        As for :class:`Turns`.
    percentiles
        Of a raw stack, that are 0 and 1 to the network.
    gain_of_all
        Whether the gain of every stack is asked for, whatever ``gain_every`` says.
    """

    def __init__(
        self,
        gain_every: int,
        less_light_every: int,
        percentiles: tuple[float, float],
        *,
        gain_of_all: bool = False,
    ) -> None:
        self._gain_of_all = gain_of_all
        self._turns = Turns(gain_every, less_light_every)
        self._percentiles = percentiles

    def of_next(
        self,
        camera: CameraSettings | None,
        raw: Volume,
        restored: _Floats,
        scale: IntensityScale,
        network: Network,
    ) -> Further | None:
        """Return what there is to find out about the next stack; ``None`` where it is not due.

        Parameters
        ----------
        camera
            What made the stack; ``None``: nothing can be found out.
        raw, restored
            (Z, Y, X) in ADU; ``restored`` as the network gave it.
        scale
            With which it was made.
        network
            To make another.
        """
        if camera is None:
            return None
        gain_due, less_light_due = self._turns.next()
        if not (gain_due or self._gain_of_all):
            return None
        began = time.perf_counter()
        part = part_to_look_at(raw.shape)
        before, after = raw[part], np.ascontiguousarray(restored[part])
        # What the network makes depends on the size that it is given.
        if after.shape != raw.shape:
            after = network(before.astype(np.float32), scale)
        variance = variance_of(camera, after, rounded=raw.dtype.kind in "iu")
        added = probe(variance)
        arrived = network(before.astype(np.float32) + added, scale) - after
        gain = gain_over_raw(before, after, camera, variance, added, arrived)
        seconds = {"gain": time.perf_counter() - began}
        if not less_light_due:
            return Further(gain, None, seconds)
        began = time.perf_counter()
        less = self._less_light(camera, raw, restored, (before, after), gain, network)
        return Further(gain, less, {**seconds, "less_light": time.perf_counter() - began})

    def _less_light(
        self,
        camera: CameraSettings,
        raw: Volume,
        restored: _Floats,
        part: tuple[Volume, _Floats],
        gain: Gain,
        network: Network,
    ) -> LessLight:
        before, after = part
        if gain.unknown_because:
            return LessLight((), gain.unknown_because)
        rng = np.random.default_rng(0)  # the same stack must have the same report
        step = max(1, raw.size // _SCALE_VOXELS)
        sample, expected = raw.reshape(-1)[::step], restored.reshape(-1)[::step]
        found = []
        for share in SHARES:
            scale = scale_from_percentiles(
                thinned(sample, expected, share, camera, rng).raw, *self._percentiles
            )
            if not scale.high_adu > scale.low_adu:
                return LessLight((), "so little light has no contrast")
            dealt = thinned(before, after, share, camera, rng)
            found.append(Dealt(share, dealt, network(dealt.raw, scale)))
        return less_light(before, after, found, gain, camera)
