"""The restorer: raw stack in, restored stack out, camera units in and out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import InferenceError, SettingsError
from live_restore.inference.further_passes import FurtherPasses
from live_restore.inference.image.defects import Defects, defects_of, without_defects
from live_restore.inference.image.error_bars import ErrorBarTable, error_bars_of
from live_restore.inference.image.finished import finished_volume
from live_restore.inference.image.flux import add_light_back
from live_restore.inference.image.grey_values import GreyValues
from live_restore.inference.image.intensity import IntensityScale
from live_restore.inference.image.intensity_of_stack import require_float32, scale_of
from live_restore.inference.image.residual import give_back
from live_restore.inference.model.model import Model
from live_restore.inference.network_runs import NetworkRuns
from live_restore.inference.restored import Restored
from live_restore.settings.camera import CameraSettings, DefectVoxels
from live_restore.settings.model import InferenceSettings
from live_restore.stack import Units, Volume, result_dtype

# Asking takes a microsecond; so much is a wait.
_WORTH_TELLING_S = 0.001


class Restorer:
    """A model on a device with settled options.

    Workers may share it: stacks are scaled and finished side by side, while the session runs a
    tile at a time. All that changes is the limit of the tile size, which has its own lock.

    Parameters
    ----------
    model, settings
        The model, and how to use it.
    units
        ``"camera"``: results in the raw stack's grey values and dtype; ``"camera-float"``: in
        float32, not rounded; ``"network"``: float32 as the network gives them, 0 and 1 at the
        percentiles, as the published code has them.
    camera
        What made the stacks, where it is known: what the network takes away is then compared with
        its noise. Not of models that sharpen: they return what no raw stack has.
    defects
        What the voxels become that no sample made: ``"keep"``, what they were, or ``"mend"``, what
        the network makes of their neighbours; ``None``: none are looked for, as in stacks that
        another model made. Of published numbers (network units, reference
        tiling) none are looked for.
    bad_pixels
        (Y, X), the camera's map of them, where there is one.
    gain_every
        Estimate the gain over raw of one stack in so many, the first among them; 0: of none. It
        takes a known camera, and a model of one channel.
    less_light_every
        Of one in so many of the stacks whose gain is sampled estimate what less light would cost;
        0: of none.
    error_bars
        Of the model: state the standard error of every voxel; ``None``: do not. It takes the same,
        and the gain of every stack.
    keep_flux
        Give the result back the light that the network took from it, in bright regions and dim.

    Raises
    ------
    SettingsError
        Reference tiling without a tile shape; a camera or ``keep_flux``, and results in network
        units.
    """

    def __init__(
        self,
        model: Model,
        settings: InferenceSettings,
        units: Units = "camera",
        camera: CameraSettings | None = None,
        defects: DefectVoxels | None = "keep",
        bad_pixels: NDArray[np.bool_] | None = None,
        gain_every: int = 0,
        less_light_every: int = 0,
        *,
        error_bars: ErrorBarTable | None = None,
        keep_flux: bool = False,
    ) -> None:
        self.model = model
        self._units = units
        if (camera is not None or keep_flux) and units == "network":
            raise SettingsError(
                "a camera's noise and its light are in grey values, and results in network units "
                "are not",
                model.path,
                'leave out the camera and keep_flux, or use units "camera" or "camera-float"',
            )
        self._camera = camera if model.card.truth_psf_width == 1 else None
        self._defects = defects
        self._bad_pixels = bad_pixels
        self._error_bars = error_bars
        self._keep_flux = keep_flux
        self._settings = settings
        self._network = NetworkRuns(model, settings)
        self._percentiles = settings.percentiles or model.card.percentiles
        alone = model.card.input_channels == 1
        self._further = FurtherPasses(
            gain_every if alone else 0,
            less_light_every,
            self._percentiles,
            gain_of_all=alone and error_bars is not None,
        )

    def with_camera(
        self, camera: CameraSettings | None, bad_pixels: NDArray[np.bool_] | None = None
    ) -> Restorer:
        """Return this restorer for the stacks of a camera; all else is shared with this one."""
        other = copy.copy(self)
        other._camera = camera if self.model.card.truth_psf_width == 1 else None
        other._bad_pixels = bad_pixels
        return other

    def restore(self, stack: Volume, cancelled: Callable[[], bool] = lambda: False) -> Restored:
        """Restore one stack, or the channels that the model takes together.

        Parameters
        ----------
        stack
            (Z, Y, X), or (C, Z, Y, X) for a model of C channels; one of ``DTYPES``, finite.
            One intensity scale holds for all channels, as in the published code.
        cancelled
            Asked before every tile, and may take its time; ``True`` ends with
            :class:`CancelledError`.

        Raises
        ------
        StackRefusedError
            Every voxel has the same value, or some are too large for float32.
        InferenceError
            The model failed on it.
        """
        waited_s = 0.0

        def asked() -> bool:
            nonlocal waited_s
            began = time.perf_counter()
            answer = cancelled()
            waited_s += time.perf_counter() - began
            return answer

        started = time.perf_counter()
        raw = _channels(stack)
        grey_values = tuple(GreyValues.of(each) for each in raw)
        defects, map_not_used = self._find_defects(raw, grey_values)
        channels = without_defects(raw, defects)
        known = grey_values[0] if channels is raw and len(raw) == 1 else None
        scale, brightest, scale_from_extremes = self._scale(channels, known)
        scaled = time.perf_counter()
        run = self._network.in_counts(channels, scale, asked) if self._as_it_comes else None
        if run is None:
            run = self._network.run(channels, scale, asked)
        network = run.voxels.reshape(stack.shape)
        ran = time.perf_counter()
        to_camera = None if self._units == "network" else scale
        given_back, further, error_bars, estimated = None, None, None, ran
        if self._camera is not None or self._keep_flux:
            scale.restore(network)
            to_camera = None
            in_channels = network.reshape(channels.shape)

            def again(other: Volume, scale: IntensityScale) -> NDArray[np.float32]:
                return scale.restore(
                    self._network.run(other[np.newaxis], scale, cancelled).voxels[0]
                )

            further = self._further.of_next(self._camera, channels[0], in_channels[0], scale, again)
            estimated = time.perf_counter()
            if self._camera is not None:
                given_back = give_back(channels, in_channels, self._camera)
        if self._error_bars is not None:
            pair = channels[0], network.reshape(channels.shape)[0]
            error_bars = error_bars_of(
                *pair,
                defects,
                self._camera,
                self._error_bars,
                None if further is None else further.gain,
                given_back,
            )
        if self._keep_flux:
            for recorded, made in zip(channels, network.reshape(channels.shape), strict=True):
                add_light_back(recorded, made)
        clipped = run.clipped_voxels
        volume: Volume = network
        if clipped is None:
            dtype = result_dtype(stack.dtype, self._units)
            try:
                volume, clipped = finished_volume(network, to_camera, dtype)
            except InferenceError:
                require_float32(channels, scale)
                raise
        if self._defects == "keep":
            for recorded, kept, found in zip(raw, _channels(volume), defects, strict=False):
                where = found.indices(len(recorded))
                kept[where] = recorded[where]
        finished = time.perf_counter()
        seconds = {
            "normalise": scaled - started,
            "network": ran - scaled - waited_s,
            "finish": finished - ran,
        }
        if waited_s >= _WORTH_TELLING_S:
            seconds["waited"] = waited_s
        if further is not None:
            further = further.of_result(given_back)
            seconds |= further.seconds
            seconds["finish"] -= estimated - ran
        return Restored(
            volume=volume,
            scale=scale,
            clipped_voxels=clipped,
            tile_zyx=run.tile_zyx,
            tile_count=run.tile_count,
            seconds=seconds,
            brightest=brightest,
            percentiles=self._percentiles,
            scale_from_extremes=scale_from_extremes,
            tiles_reduced=run.reduced_because,
            given_back=given_back,
            defects=defects,
            map_not_used=map_not_used,
            gain=None if further is None else further.gain,
            error_bars=error_bars,
            less_light=None if further is None else further.less_light,
            in_camera_units=self._units != "network",
            grey_values=grey_values,
        )

    @property
    def _as_it_comes(self) -> bool:
        """Whether a result is what the network gives, in whole grey values, and nothing else."""
        looks = self._camera is not None or self._keep_flux or self._error_bars is not None
        return self._units == "camera" and self._settings.tiling != "reference" and not looks

    def _find_defects(
        self, channels: Volume, known: tuple[GreyValues, ...]
    ) -> tuple[tuple[Defects, ...], str]:
        """Return the defects of each channel, and why the camera's map does not count."""
        reference = self._units == "network" or self._settings.tiling == "reference"
        if reference or self._defects is None:
            return (), ""
        return defects_of(channels, self._bad_pixels, [each.highest for each in known])

    def _scale(self, stack: Volume, known: GreyValues | None) -> tuple[IntensityScale, float, bool]:
        """Return scale, brightest voxel in its units, and whether the stack's extremes are it."""
        # Counts are counts; and reference tiling is asked for to get the published numbers.
        any_unit = stack.dtype.kind == "f" and self._settings.tiling != "reference"
        return scale_of(stack, self._percentiles, known, any_unit=any_unit)


def _channels(stack: Volume) -> Volume:
    return stack if stack.ndim == 4 else stack[np.newaxis]
