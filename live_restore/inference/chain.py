"""Models one after the other, as one: denoise, then sharpen."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from live_restore.errors import ModelError
from live_restore.inference.image.finished import finished_volume
from live_restore.inference.image.resample import resampled, zoom_for
from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.model import Model
from live_restore.inference.restored import Restored, StepTaken
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings, DefectVoxels
from live_restore.settings.model import InferenceSettings
from live_restore.stack import Mask, Units, Volume, VoxelSize, result_dtype


class ChainRestorer:
    """Restores stacks with several models, one after the other.

    The first takes the raw stack, and knows its camera; each of the others takes what the one
    before it made, as float32 in camera units. Where voxels lie outside what a later model was
    trained on, it works on a grid of its own.

    Parameters
    ----------
    steps
        Two at least, each made with units ``"camera-float"``; the first mends defects, and the
        others are not told of any.
    units, defects
        Of the result, as for a ``Restorer``.

    Raises
    ------
    ModelError
        A step takes several channels together.
    """

    def __init__(
        self, steps: Sequence[Restorer], units: Units = "camera", defects: DefectVoxels = "keep"
    ) -> None:
        for step in steps:
            if step.model.card.input_channels > 1:
                raise ModelError(
                    "takes several channels together, and a chain of models takes one",
                    step.model.path,
                    "leave it out of steps",
                )
        self._steps = tuple(steps)
        self._units = units
        self._defects = defects
        self._voxel = VoxelSize()
        self.model = chained([step.model for step in steps])

    @classmethod
    def of(
        cls,
        models: Sequence[Model],
        inference: InferenceSettings,
        units: Units = "camera",
        defects: DefectVoxels = "keep",
        *,
        keep_flux: bool = False,
    ) -> ChainRestorer:
        """Return the chain of some models, in order; ``keep_flux`` as for a ``Restorer``."""
        steps = [
            Restorer(
                model,
                inference,
                "camera-float",
                defects=None if number else "mend",
                keep_flux=keep_flux,
            )
            for number, model in enumerate(models)
        ]
        return cls(steps, units, defects)

    def with_camera(
        self, camera: CameraSettings | None, bad_pixels: Mask | None = None
    ) -> ChainRestorer:
        """Return this chain for the stacks of a camera: only the first step sees its noise."""
        other = copy.copy(self)
        other._steps = (self._steps[0].with_camera(camera, bad_pixels), *self._steps[1:])
        return other

    def with_voxel(self, voxel: VoxelSize) -> ChainRestorer:
        """Return this chain for stacks of a voxel size."""
        other = copy.copy(self)
        other._voxel = voxel
        return other

    def restore(self, stack: Volume, cancelled: Callable[[], bool] = lambda: False) -> Restored:
        """Restore one stack (Z, Y, X); see ``Restorer.restore``.

        What is told of the raw stack (scale, defects, what was given back) is told by the first
        step; times and tiles are those of all.
        """
        first = made = self._steps[0].restore(stack, cancelled)
        all_made, taken = [first], [StepTaken(self._steps[0].model.card.name, (1.0, 1.0, 1.0))]
        volume = np.asarray(first.volume, np.float32)
        for step in self._steps[1:]:
            zoom = zoom_for(self._voxel, step.model.card.trained_voxel_um)
            z, y, x = (max(1, round(n * f)) for n, f in zip(stack.shape, zoom, strict=True))
            made = step.restore(resampled(volume, (z, y, x)), cancelled)
            volume = resampled(np.asarray(made.volume, np.float32), stack.shape)
            all_made.append(made)
            taken.append(StepTaken(step.model.card.name, zoom))
        result, clipped = finished_volume(volume, None, result_dtype(stack.dtype, self._units))
        if self._defects != "mend":
            for found in first.defects:
                where = found.indices(len(stack))
                result[where] = stack[where]
        seconds: dict[str, float] = {}
        for each in all_made:
            for stage, spent in each.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        return replace(
            first,
            volume=result,
            clipped_voxels=clipped,
            tile_zyx=made.tile_zyx,
            tile_count=sum(each.tile_count for each in all_made),
            tiles_reduced="; ".join(each.tiles_reduced for each in all_made if each.tiles_reduced),
            seconds=seconds,
            steps=tuple(taken),
        )


def weights_before(models: Sequence[Model]) -> str:
    """Return how a card names the models whose results its own was measured on."""
    return "+".join(model.card.weights_sha256 or model.digest for model in models)


def chained(models: Sequence[Model]) -> Model:
    """Return what stands for all models of a chain: its name, its digest, and what it promises.

    What the first was trained on is what a raw stack has to be like. Where the chain helps is known
    if it was measured as a chain, whatever was measured of its steps.
    """
    digest = hashlib.sha256("\n".join(model.digest for model in models).encode()).hexdigest()
    cards = [model.card for model in models]
    width = 1.0
    for card in cards:
        width *= card.truth_psf_width
    card = ModelCard(
        name="-then-".join(card.name for card in cards)[:60],
        version="-".join(card.version for card in cards)[:40],
        description=f"{', then '.join(card.name for card in cards)}.",
        licence=", ".join(dict.fromkeys(card.licence for card in cards if card.licence)),
        percentiles=cards[0].percentiles,
        trained_voxel_um=cards[0].trained_voxel_um,
        truth_psf_width=width,
        precision=cards[-1].precision,
        steps=tuple(card.name for card in cards),
        envelope=cards[-1].envelopes_after.get(weights_before(models[:-1])),
    )
    return Model(models[0].path, digest, card, models[-1].session, tuple(models))
