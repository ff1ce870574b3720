"""A restored stack, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass

from live_restore.inference.image.defects import Defects
from live_restore.inference.image.error_bars import ErrorBars
from live_restore.inference.image.gain import Gain
from live_restore.inference.image.grey_values import GreyValues
from live_restore.inference.image.intensity import IntensityScale
from live_restore.inference.image.less_light import LessLight
from live_restore.inference.image.residual import GivenBack
from live_restore.stack import Volume


@dataclass(frozen=True)
class StepTaken:
    """One model of a chain: its name, and by how much its grid was enlarged along Z, Y and X."""

    model: str
    zoom_zyx: tuple[float, float, float]


@dataclass(frozen=True)
class Restored:
    """A restored stack and how it came about.

    Parameters
    ----------
    volume
        (Z, Y, X), the raw stack's shape; its dtype and camera units, or float32 network units.
    scale
        Grey values that were 0 and 1 in network units.
    clipped_voxels
        Voxels that lay outside the dtype and were clipped to it.
    tile_zyx, tile_count
        Tiles that were run.
    seconds
        Time of each stage: ``normalise``, ``network``, ``finish``; ``gain`` and
        ``less_light`` if those were estimated;
        and, where it was any, ``waited`` for whoever was asked before a tile.
    brightest
        The brightest voxel of the raw stack but for its defects (network units).
    percentiles
        Of the raw stack, that were to be 0 and 1 in network units.
    scale_from_extremes
        Whether those were equal, so that its lowest and highest voxel had to do.
    tiles_reduced
        Why tiles are smaller than they should be; empty when they are not.
    given_back
        What the network took away beyond the camera's noise; ``None`` where that was not asked.
    defects
        Of each channel, what was hidden from the network; empty where nobody looked for any.
    map_not_used
        Why the camera's map of bad pixels says nothing about this stack; empty when it does.
    gain
        How much nearer to the truth it is than the raw stack; ``None`` where that was not asked.
    error_bars
        How far its voxels may be from the truth; ``None`` where that was not asked.
    less_light
        What less light would cost; ``None`` where that was not asked.
    in_camera_units
        Whether it is in the raw stack's grey values.
    steps
        Of a chain of models, what each did; empty of one model.
    grey_values
        Of each channel of the raw stack; empty where nobody has looked.
    """

    volume: Volume
    scale: IntensityScale
    clipped_voxels: int
    tile_zyx: tuple[int, int, int]
    tile_count: int
    seconds: dict[str, float]
    brightest: float
    percentiles: tuple[float, float]
    scale_from_extremes: bool = False
    tiles_reduced: str = ""
    given_back: GivenBack | None = None
    defects: tuple[Defects, ...] = ()
    map_not_used: str = ""
    gain: Gain | None = None
    error_bars: ErrorBars | None = None
    less_light: LessLight | None = None
    in_camera_units: bool = True
    steps: tuple[StepTaken, ...] = ()
    grey_values: tuple[GreyValues, ...] = ()

    @property
    def tile_s(self) -> float:
        """How long the network took for a tile (s)."""
        return self.seconds["network"] / max(1, self.tile_count)
