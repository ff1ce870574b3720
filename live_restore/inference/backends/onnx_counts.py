"""ONNX Runtime with grey values in and out: the session, on whatever device its tensors are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from live_restore.errors import ModelError
from live_restore.inference.backends.backend import Limits, ModelSource, tile_failure
from live_restore.inference.backends.onnx import create, tile_errors
from live_restore.inference.backends.recording import GPUS, Turn
from live_restore.inference.backends.session import Counts, Device, InCounts, Scale, Shape5
from live_restore.inference.model import counts_graph
from live_restore.inference.model.counts_graph import UnsuitableModelError, with_counts


def counts_source(source: ModelSource, shape: Shape5) -> ModelSource:
    """Return the model with all before and after the network in it; raises ``ModelError``."""
    try:
        return replace(source, content=with_counts(source.content, shape))
    except UnsuitableModelError as error:
        raise ModelError(f"cannot take grey values on a device ({error})", source.path) from None


def create_counts(source: ModelSource, shape: Shape5, providers: list[Any], limits: Limits) -> Any:
    """Return an ``InferenceSession`` that takes grey values; raises as ``create``."""
    return create(counts_source(source, shape), providers, limits)


class OnnxCountsSession:
    """A session whose tensors stay at one place in a device's memory.

    Parameters
    ----------
    session
        Of a model from :func:`counts_source`.
    device, shape
        What it runs on, and the tiles that it takes.
    memory, index
        Where its tensors are, as ONNX Runtime calls it: "cpu", "cuda"; and of which device.
    fixed
        Whether what it gives stays at one place, too, as a CUDA graph asks for.
    """

    def __init__(
        self,
        session: Any,
        device: Device,
        shape: Shape5,
        memory: str,
        index: int,
        *,
        fixed: bool = False,
    ) -> None:
        import onnxruntime

        self.device = device
        self._session = session
        self._shape = shape
        self._turn = Turn(GPUS, records=fixed)
        of_shape = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        scale = (counts_graph.LOW, counts_graph.FACTOR, counts_graph.DIVISOR)
        try:
            self._tile = of_shape(shape, np.uint16, memory, index)
            self._scale = [of_shape((), np.float32, memory, index) for _ in scale]
            self._binding = session.io_binding()
            self._binding.bind_ortvalue_input(counts_graph.COUNTS, self._tile)
            for name, value in zip(scale, self._scale, strict=True):
                self._binding.bind_ortvalue_input(name, value)
            for name, sizes, kind in _outputs(shape):
                if fixed:
                    given = of_shape(sizes, kind, memory, index)
                    self._binding.bind_ortvalue_output(name, given)
                else:
                    self._binding.bind_output(name, memory, index)
        except tile_errors() as error:
            raise tile_failure(shape, error) from error

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts:
        """Run one tile of the session's shape."""
        if tile.shape != self._shape:
            raise ValueError(f"a tile of {tile.shape} for a session of {self._shape}")
        try:
            with self._turn.run():
                self._tile.update_inplace(np.ascontiguousarray(tile))
                for value, number in zip(self._scale, scale, strict=True):
                    value.update_inplace(np.asarray(number, np.float32))
                self._session.run_with_iobinding(self._binding)
                return InCounts.of(*self._binding.copy_outputs_to_cpu())
        except tile_errors() as error:
            raise tile_failure(tile.shape, error) from error


def _outputs(shape: Shape5) -> tuple[tuple[str, tuple[int, ...], Any], ...]:
    """Return name, shape and type of what such a model gives, in the order of ``InCounts.of``."""
    return (
        (counts_graph.RESTORED, shape, np.uint16),
        (counts_graph.OUTSIDE, shape[:3], np.float32),
        (counts_graph.BROKEN, shape[:3], np.float32),
    )
