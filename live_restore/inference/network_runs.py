"""How the network is run over a stack: whole, in tiles, or as the published program does it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import DeviceMemoryError, InferenceError, SettingsError
from live_restore.inference.backends.session import MayTakeCounts
from live_restore.inference.device.tile_size import TileLimit, largest_tile_voxels
from live_restore.inference.image.finished import not_finite
from live_restore.inference.image.intensity import IntensityScale
from live_restore.inference.image.reference_tiling import blend_tiles
from live_restore.inference.image.tiling import TilePlan, plan_tiles, run_tiled
from live_restore.inference.model.model import Model
from live_restore.settings.model import InferenceSettings
from live_restore.stack import Volume

_Floats = NDArray[np.float32]


class CancelledError(Exception):
    """Restoration was asked to stop between two tiles; nothing is wrong with the stack."""


@dataclass(frozen=True)
class Run:
    """What the network made of a stack.

    Parameters
    ----------
    voxels
        (C, Z, Y, X): float32 in network units; or, if ``clipped_voxels`` is known, in grey values
        of the stack's type.
    tile_zyx, tile_count
        Tiles that were run.
    reduced_because
        Why they are smaller than they should be; empty when they are not.
    clipped_voxels
        How many lay outside the type; ``None``: voxels are in network units.
    """

    voxels: NDArray[Any]
    tile_zyx: tuple[int, int, int]
    tile_count: int
    reduced_because: str = ""
    clipped_voxels: int | None = None


class NetworkRuns:
    """Runs one model over stacks; workers may share it.

    Parameters
    ----------
    model, settings
        The model, and how to use it.

    Raises
    ------
    SettingsError
        Reference tiling without a tile shape.
    """

    def __init__(self, model: Model, settings: InferenceSettings) -> None:
        self._model = model
        self._settings = settings
        self._block = settings.block_zyx or model.card.trained_patch_zyx
        if settings.tiling == "reference" and self._block is None:
            raise SettingsError(
                'tiling = "reference" needs a tile, and the model does not say what it was '
                "trained on",
                model.path,
                "set inference.block_zyx",
            )
        self._overlap = settings.overlap_zyx or model.card.overlap_zyx
        asked = settings.max_tile_mvoxel
        self._tile_limit = TileLimit(
            largest_tile_voxels(model.card, model.session.device)
            if asked is None
            else int(asked * 1e6)
        )

    def run(self, channels: Volume, scale: IntensityScale, cancelled: Callable[[], bool]) -> Run:
        """Return the channels (C, Z, Y, X) in network units.

        ``cancelled`` is asked before every tile.

        Raises
        ------
        CancelledError
            It said so.
        InferenceError
            The model failed.
        """
        if self._settings.tiling == "reference":
            return self._reference(channels, scale, cancelled)
        return self._tiled(channels, scale, cancelled)

    def in_counts(
        self, channels: Volume, scale: IntensityScale, cancelled: Callable[[], bool]
    ) -> Run | None:
        """Return the channels in their own grey values, if the device does all of it by itself.

        It does where it may gain, of whole stacks of 16 bits; else return ``None``. Voxels are
        equal to the bit to those that :meth:`run` and ``finished_volume`` make.
        """
        session = self._model.session
        if channels.dtype != np.uint16 or not isinstance(session, MayTakeCounts):
            return None
        most, reduced = self._tile_limit.read()
        plan = self._plan(channels, most)
        if plan.tile_count > 1 or plan.padded_zyx != plan.stack_zyx:
            return None  # blended, or cut, on the processor
        if cancelled():
            raise CancelledError
        found = session.run_counts(
            np.ascontiguousarray(channels[np.newaxis], np.uint16), scale.as_float32()
        )
        if found is None:
            return None
        _require_shape(found.volume.shape[1:], channels.shape)
        if found.not_finite:
            raise not_finite()
        return Run(found.volume[0], plan.tile_zyx, 1, reduced, found.clipped_voxels)

    def _plan(self, channels: Volume, most_voxels: int) -> TilePlan:
        _, z, y, x = channels.shape
        multiple = self._model.card.shape_multiple_zyx
        return plan_tiles((z, y, x), most_voxels, self._overlap, multiple)

    def _tiled(self, channels: Volume, scale: IntensityScale, cancelled: Callable[[], bool]) -> Run:
        def run(tile: _Floats) -> _Floats:
            return np.asarray(self._run(tile[np.newaxis], cancelled)[0])

        most, reduced = self._tile_limit.read()
        plan = self._plan(channels, most)
        while True:
            try:
                network = run_tiled(channels, plan, scale.normalise, run)
            except DeviceMemoryError as error:
                # Another worker may have gone further down in the meantime.
                most = min(math.prod(plan.tile_zyx) // 2, self._tile_limit.read()[0])
                smaller = self._plan(channels, most)
                if math.prod(smaller.tile_zyx) >= math.prod(plan.tile_zyx):
                    raise
                _, reduced = self._tile_limit.lower(
                    math.prod(smaller.tile_zyx),
                    f"tiles of {plan.tile_zyx} did not fit into the memory of "
                    f"{self._model.session.device.hardware}: {error.what}",
                )
                plan = smaller
            else:
                return Run(network, plan.tile_zyx, plan.tile_count, reduced)

    def _reference(
        self, channels: Volume, scale: IntensityScale, cancelled: Callable[[], bool]
    ) -> Run:
        assert self._block is not None
        tiles = 0

        def run(tile: _Floats) -> _Floats:
            nonlocal tiles
            tiles += 1
            return self._run(tile, cancelled)

        blended = blend_tiles(
            scale.normalise(channels), run, self._block, self._settings.overlap_zyx
        )
        return Run(blended, self._block, tiles)

    def _run(self, batch: _Floats, cancelled: Callable[[], bool]) -> _Floats:
        """Run one tile (1, C, Z, Y, X)."""
        if cancelled():
            raise CancelledError
        restored = self._model.session.run(np.ascontiguousarray(batch))
        _require_shape(restored.shape, batch.shape)
        return restored


def _require_shape(made: tuple[int, ...], asked: tuple[int, ...]) -> None:
    if made != asked:
        raise InferenceError(
            f"the model made {made} of a tile of {asked}",
            None,
            "use a model whose output has the shape of its input",
        )
