"""One stack in memory, restored as ``live-restore restore`` restores a file of it."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.cluster.models import load_models
from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.job import RawStack
from live_restore.errors import StackError, StackRefusedError, UsageError, one_line
from live_restore.inference.load import find_model
from live_restore.inference.model_set import ModelSet
from live_restore.outputs.output import FinishedStack
from live_restore.settings.load import load_settings
from live_restore.settings.model import Settings
from live_restore.stack import DTYPES, FileStacks, Fingerprint, StackIndex, VoxelSize

_ARRAY = "the array"
# A notebook compares two models, or two devices; each set holds its sessions' memory.
_MODEL_SETS_KEPT = 2
_LONGEST_SHOWN = 100


class DoubtfulWarning(UserWarning):
    """A restored stack lies outside what its model was shown to do well."""


def restore(
    array: NDArray[np.generic],
    voxel_size: tuple[float, float, float] | None = None,
    model: str | Path | None = None,
    device: str | None = None,
    settings: Settings | None = None,
) -> NDArray[np.generic]:
    """Restore one stack in memory; the pixels are those of ``live-restore restore``.

    Models stay warm between calls. Calls from several threads take turns.

    Parameters
    ----------
    array
        (Z, Y, X), or (C, Z, Y, X) for a model that takes C channels together; uint8, uint16,
        int16, uint32 or finite float32, in grey values (ADU). It is not changed.
    voxel_size
        Distance between voxel centres, (z, y, x), in micrometres; ``None``: not known. No pixel
        depends on it, but whether the result is doubtful does.
    model
        Name of a bundled model, or path of an .onnx file or a zoo package; ``None``: what
        ``settings`` say, "fast" by default.
    device
        Such as "cpu", "openvino" or "cuda:1"; ``None``: what ``settings`` say, "auto" by default.
    settings
        Everything else; ``None``: the defaults. As for every program of live-restore, environment
        variables ``LIVE_RESTORE_...`` have the last word.

    Returns
    -------
    numpy.ndarray
        The restored stack, a new array of the same shape and dtype (float32 where
        ``settings.output.units`` ask for it).

    Warns
    -----
    DoubtfulWarning
        Once per reason to doubt the result. ``warnings.simplefilter("error", DoubtfulWarning)``
        turns doubt into an exception.

    Raises
    ------
    UsageError
        Shape, dtype or voxel size are not as above; or a wrong setting, model or device.
    StackRefusedError
        There is nothing to restore: every voxel has the same value, or some are not finite or
        too large.
    InferenceError
        The model failed on it.

    Examples
    --------
    >>> from live_restore.simulation.scene import LivingCell
    >>> stack = LivingCell(shape_zyx=(8, 64, 64)).exposed(0)
    >>> restored = restore(stack, voxel_size=(0.3, 0.1, 0.1), device="cpu")
    >>> restored.shape, restored.dtype
    ((8, 64, 64), dtype('uint16'))
    """
    if isinstance(array, np.ma.MaskedArray):
        raise UsageError("is masked, and a stack has no holes", _ARRAY, "fill it first")
    raw = np.asarray(array)
    _check(raw)
    voxel = _voxel(voxel_size)
    with _lock:
        model_set = _warm(_settings(settings, model, device))
        try:
            finished, reasons = _restored(raw, voxel, model_set)
        except StackError as error:
            raise type(error)(error.what, _ARRAY, error.remedy) from None
    for reason in reasons:
        warnings.warn(reason, DoubtfulWarning, stacklevel=2)
    return finished


_lock = threading.Lock()
_model_sets: OrderedDict[str, ModelSet] = OrderedDict()


def _check(raw: NDArray[np.generic]) -> None:
    if raw.ndim not in (3, 4) or 0 in raw.shape:
        raise UsageError(
            f"has shape {raw.shape}", _ARRAY, "give it (Z, Y, X): one stack of one time point"
        )
    if raw.dtype.name not in DTYPES:
        raise UsageError(
            f"has dtype {raw.dtype}",
            _ARRAY,
            f"convert it to {', '.join(DTYPES[:-1])} or {DTYPES[-1]}",
        )
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise StackRefusedError("has values that are not finite", _ARRAY, "replace them first")


def _voxel(voxel_size: tuple[float, float, float] | None) -> VoxelSize:
    if voxel_size is None:
        return VoxelSize()
    try:
        z_um, y_um, x_um = (float(size) for size in voxel_size)
        right = all(0 < size < float("inf") for size in (z_um, y_um, x_um))
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise UsageError(
            f"voxel_size is {one_line(repr(voxel_size))[:_LONGEST_SHOWN]}",
            None,
            "give it (z, y, x) in micrometres, or None",
        )
    return VoxelSize(z_um, y_um, x_um)


def _settings(settings: Settings | None, model: str | Path | None, device: str | None) -> Settings:
    """Return the settings with both arguments in them, checked as those of the command line."""
    values: dict[str, Any] = {} if settings is None else settings.model_dump()
    if model is not None:
        values["models"] = [{"channels": ["*"], "model": str(model)}]
    if device is not None:
        values["inference"] = {**values.get("inference", {}), "device": device}
    return load_settings(None, values)


def _warm(settings: Settings) -> ModelSet:
    """Return the models of ``settings``, loaded once; again where a model's file has changed."""
    files = [find_model(name) for name in settings.model_names]
    states = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    key = f"{settings.model_dump_json()} {states}"
    if key not in _model_sets:
        _model_sets[key] = load_models(settings)
        while len(_model_sets) > _MODEL_SETS_KEPT:
            _model_sets.popitem(last=False)
    _model_sets.move_to_end(key)
    return _model_sets[key]


def _restored(
    raw: NDArray[np.generic], voxel: VoxelSize, model_set: ModelSet
) -> tuple[NDArray[np.generic], list[str]]:
    """Return the restored stack, and why it is doubtful."""
    channels = raw if raw.ndim == 4 else raw[np.newaxis]
    z, y, x = channels.shape[1:]
    native = raw.dtype.newbyteorder("=")
    description = FileStacks(
        Path(_ARRAY), Fingerprint(raw.nbytes, 0), 1, 1, len(channels), (z, y, x), native, voxel
    )
    _check_channels(description, raw.ndim, model_set)
    groups = ChannelGroups(description, model_set)
    finished: list[FinishedStack] = []
    for number, volume in enumerate(channels):
        stack = np.ascontiguousarray(volume, native)
        finished += groups.feed(RawStack(StackIndex(channel=number), stack, 0.0))
    volumes = [stack.volume for stack in sorted(finished, key=lambda each: each.index)]
    result = volumes[0] if raw.ndim == 3 else np.stack(volumes)
    dtype = raw.dtype if result.dtype == native else result.dtype
    return result.astype(dtype, copy=False), _reasons(finished)


def _check_channels(description: FileStacks, ndim: int, model_set: ModelSet) -> None:
    restorer = model_set.restorer_for(description, 0)
    if restorer is None:
        raise UsageError("the settings skip its channel", _ARRAY, "name a model")
    card = restorer.model.card
    if ndim == 4 and card.input_channels == 1:
        raise UsageError(
            f'has four axes, and the model "{card.name}" takes one channel', _ARRAY,
            "restore it channel by channel",
        )  # fmt: skip
    if description.channels != card.input_channels:
        raise UsageError(
            f'has {description.channels} channel(s), and the model "{card.name}" takes '
            f"{card.input_channels} together",
            _ARRAY,
            "give it (C, Z, Y, X) with all of them",
        )


def _reasons(finished: list[FinishedStack]) -> list[str]:
    """Return why they are doubtful; of several, with the number of each channel."""
    reasons = []
    for stack in finished:
        label = f"{stack.index.label}: " if len(finished) > 1 else ""
        reasons += [f"{label}{each}" for each in (*stack.trust.warnings, *stack.trust.doubts)]
    return reasons
