"""Does the ONNX file compute what the trained network computes? Measured, case by case."""

from __future__ import annotations

import functools
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from live_restore.errors import InferenceError, ModelError, UsageError
from live_restore_export.network import RCAN
from live_restore_export.onnx.evaluate import evaluate
from live_restore_export.onnx.graph import INPUT, OUTPUT

Array = NDArray[np.float32]

# ONNX Runtime's errors have no base of their own; these are all that its library defines.
_RUNTIME_ERRORS: tuple[type[Exception], ...] = tuple(
    kind
    for kind in vars(onnxruntime_pybind11_state).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
)

FP32_TOLERANCE = 1e-4
"""Largest accepted difference in network units, where 1 is the 99.9th percentile of the stack.

Float32 sums of a deep network differ in their last bits with the order of the sums; measured on
G5 B5 C32 with random weights it is 3e-7. A wrong graph differs by 1e-2 and more.
"""

MAX_RECORD_BYTES = 2 << 30

# (N, Z, Y, X) before Y and X are rounded up to the network's multiple: odd sizes, one plane,
# less than a kernel, several images at once.
SHAPES = ((1, 8, 16, 16), (1, 5, 13, 11), (1, 1, 9, 20), (2, 3, 6, 5), (1, 2, 1, 3))


@dataclass(frozen=True)
class Comparison:
    """One row of the table: what went in, and by how much the outputs differ (network units)."""

    case: str
    shape: tuple[int, ...]
    largest: float
    mean: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the largest difference is allowed; NaN is not."""
        return self.largest <= self.allowed


def compare(
    case: str, got: NDArray[np.generic], want: NDArray[np.generic], tolerance: float
) -> Comparison:
    """Compare two outputs of the same shape.

    ``tolerance`` counts for outputs of the order of 1; where the expected output is larger than
    that it grows with it, as float rounding does.
    """
    if got.shape != want.shape:
        return Comparison(
            f"{case}: shape {got.shape}, not {want.shape}",
            want.shape,
            math.inf,
            math.inf,
            tolerance,
        )
    difference = np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))
    allowed = tolerance * max(1.0, float(np.max(np.abs(want), initial=0.0)))
    return Comparison(case, want.shape, float(difference.max()), float(difference.mean()), allowed)


def structured_image(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return a ramp with bright blobs and one hot voxel, (N, C, Z, Y, X) network units."""
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in shape[2:]), indexing="ij")
    image = np.broadcast_to(0.3 * sum(axes) / 3, shape).copy()
    for _ in range(4):
        centre = rng.random(3)
        distance = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True))
        image += np.exp(-distance / 0.02)
    image.reshape(-1)[rng.integers(image.size)] = 6.0
    return image.astype(np.float32)


def example_inputs(channels: int, multiple: int, seed: int = 0) -> Iterator[tuple[str, Array]]:
    """Yield named inputs (N, C, Z, Y, X): noise and structure of several shapes, and a flat one."""
    rng = np.random.default_rng(seed)
    for n, z, y, x in SHAPES:
        shape = (n, channels, z, -(-y // multiple) * multiple, -(-x // multiple) * multiple)
        yield "noise", rng.normal(0.2, 0.3, shape).astype(np.float32)
        yield "structure", structured_image(shape, rng)
    yield "flat zero", np.zeros((1, channels, 4, 4 * multiple, 4 * multiple), np.float32)


def cpu_session(model: onnx.ModelProto | bytes) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session on the CPU provider.

    Raises
    ------
    ModelError
        ONNX Runtime cannot run this graph on the CPU.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Threads that wait by spinning win nothing on small inputs and slow down everything beside.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    data = model if isinstance(model, bytes) else model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as error:
        raise ModelError(f"ONNX Runtime cannot run it on the CPU: {error}") from error


def run_session(session: onnxruntime.InferenceSession, image: Array) -> Array:
    """Run one (N, C, Z, Y, X) image; raises ``InferenceError`` where ONNX Runtime fails."""
    try:
        return np.asarray(session.run([OUTPUT], {INPUT: image})[0])
    except _RUNTIME_ERRORS as error:
        raise InferenceError(
            f"ONNX Runtime failed on an input of {image.shape}: {error}"
        ) from error


def has_bfloat16(model: onnx.ModelProto) -> bool:
    """Whether the graph computes in bfloat16, for which the CPU provider has no convolution."""
    return any(t.data_type == onnx.TensorProto.BFLOAT16 for t in model.graph.initializer)


def runner(model: onnx.ModelProto) -> Callable[[Array], Array]:
    """Return what runs ``model`` here: ONNX Runtime, or torch node by node for bfloat16."""
    if has_bfloat16(model):
        return functools.partial(evaluate, model)
    return functools.partial(run_session, cpu_session(model))


def run_torch(network: RCAN, image: Array) -> NDArray[np.float64]:
    """Run one (N, C, Z, Y, X) image through a float64 network."""
    with torch.inference_mode():
        return np.asarray(network(torch.from_numpy(image).double()).numpy())


def compare_with_network(
    model: onnx.ModelProto, network: RCAN, tolerance: float = FP32_TOLERANCE
) -> list[Comparison]:
    """Compare ``model`` with ``network`` computed by torch in float64."""
    run, config = runner(model), network.config
    exact = RCAN(config)
    exact.load_state_dict(network.state_dict())
    exact.double().eval()
    return [
        compare(name, run(image), run_torch(exact, image), tolerance)
        for name, image in example_inputs(config.in_channels, config.lateral_shuffle)
    ]


def compare_with_record(
    model: onnx.ModelProto, record: Path, tolerance: float = FP32_TOLERANCE
) -> list[Comparison]:
    """Compare ``model`` with a recorded call of the network.

    Parameters
    ----------
    record
        An ``.npz`` with ``direct_in`` and ``direct_out`` (or ``input`` and ``output``), network
        units, (N, Z, Y, X, C) as Keras keeps them or (N, C, Z, Y, X).
    """
    names, (image, want) = _recorded(record)
    channels = [
        v.type.tensor_type.shape.dim[1].dim_value for v in (*model.graph.input, *model.graph.output)
    ]
    image, want = (
        channels_first(a, c, record) for a, c in zip((image, want), channels, strict=True)
    )
    got = runner(model)(image)
    return [compare(f"recorded {names[0]}", got, want, tolerance)]


def _recorded(record: Path) -> tuple[tuple[str, str], tuple[Array, Array]]:
    """Return names and values of a recorded input and output."""
    try:
        if not zipfile.is_zipfile(record):
            raise UsageError("is not an .npz file of arrays", record)
        with zipfile.ZipFile(record) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_RECORD_BYTES:
                raise UsageError(f"unpacks to more than {MAX_RECORD_BYTES >> 20} MiB", record)
        with np.load(record, allow_pickle=False) as arrays:
            for names in (("direct_in", "direct_out"), ("input", "output")):
                if set(names) <= set(arrays.files):
                    image, want = (arrays[name] for name in names)
                    break
            else:
                raise UsageError(
                    "holds neither direct_in and direct_out nor input and output", record
                )
    except UsageError:
        raise
    except Exception as error:  # a damaged zip makes its readers raise anything
        raise UsageError(f"is not an .npz file of arrays: {error}", record) from error
    for name, array in zip(names, (image, want), strict=True):
        if array.dtype.kind not in "fiu" or not array.size:
            raise UsageError(
                f"{name} of shape {array.shape} and type {array.dtype} is no image", record
            )
    return names, (np.asarray(image, np.float32), np.asarray(want, np.float32))


def channels_first(array: Array, channels: int, path: Path) -> Array:
    """Return (N, C, Z, Y, X) of an array whose channels are first or last."""
    if array.ndim != 5 or channels not in (array.shape[1], array.shape[-1]):
        raise UsageError(f"shape {array.shape} has no axis of {channels} channels", path)
    if array.shape[-1] == channels:
        array = np.moveaxis(array, -1, 1)
    return np.ascontiguousarray(array)
