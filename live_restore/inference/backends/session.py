"""What a session is: one model on one device. No runtime is imported outside this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Counts = NDArray[np.uint16]
Shape5 = tuple[int, int, int, int, int]
"""(N, C, Z, Y, X)."""
Scale = tuple[np.float32, np.float32, np.float32]
"""What grey values are scaled with: what is taken off, the factor to network units, and back."""


@dataclass(frozen=True)
class Device:
    """Where a model really runs.

    Parameters
    ----------
    name
        "cpu", "cuda:0", "openvino" ...: what ``inference.device`` would have to be to get it.
    provider
        The runtime and its provider, as the runtime itself reported it.
    hardware
        Name of the processor or card, as far as it is known.
    warning
        Why this is not what a person would hope for; empty when it is.
    precision
        What the convolutions compute in: "fp32", "tf32", "bf16", "fp16".
    reason
        Why it was chosen, with the numbers that were measured.
    memory_bytes
        What it had free when the model was loaded; 0: unknown.
    mvoxel_per_s
        The network's rate here (million voxels per second) when the choice was made; 0: nobody
        measured, because there was nothing to choose.
    on_gpu
        Whether the processor's cores are free while it computes.
    elsewhere
        Whether another process computes, most likely on another computer.
    form
        How the network is run, where the device has several ways; empty: the ordinary one.
    known_answer_error
        Relative rms difference from the right result on a small tile; 0 for the trusted device.
    """

    name: str
    provider: str
    hardware: str
    warning: str = ""
    precision: str = "fp32"
    reason: str = ""
    memory_bytes: int = 0
    mvoxel_per_s: float = 0.0
    on_gpu: bool = False
    elsewhere: bool = False
    form: str = ""
    known_answer_error: float = 0.0


class Session(Protocol):
    """A warm model."""

    @property
    def device(self) -> Device:
        """Where it runs; settled by the first tile of a shape."""
        ...

    def run(self, tile: Floats) -> Floats:
        """Run one (N, C, Z, Y, X) float32 tile.

        Returns
        -------
        ndarray
            float32, a new array that the caller may change.

        Raises
        ------
        InferenceError
            The model failed on it; ``DeviceMemoryError`` where memory ran out.
        """
        ...


@dataclass(frozen=True)
class InCounts:
    """A tile that was scaled, restored, and brought back to grey values on the device.

    Parameters
    ----------
    volume
        (N, C, Z, Y, X) uint16, a new array that the caller may change.
    clipped_voxels, not_finite
        How many lay outside of what 16 bits hold; how many were no number at all, and then
        ``volume`` must not be used.
    """

    volume: Counts
    clipped_voxels: int
    not_finite: int

    @classmethod
    def of(cls, volume: Counts, outside: Floats, broken: Floats) -> InCounts:
        """Return what the outputs of ``model/counts_graph.py`` tell, in their order."""
        # They are of each plane: a sum over more would be no float32.
        clipped, not_finite = (int(each.sum(dtype=np.float64)) for each in (outside, broken))
        return cls(np.asarray(volume), clipped, not_finite)


class CountsSession(Protocol):
    """A warm model that takes grey values and gives grey values (``model/counts_graph.py``)."""

    @property
    def device(self) -> Device:
        """Where it runs."""
        ...

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts:
        """Run one (N, C, Z, Y, X) uint16 tile; raises as :meth:`Session.run`."""
        ...


@runtime_checkable
class MayTakeCounts(Protocol):
    """A session that takes grey values where its device gains by that."""

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts | None:
        """Run one (N, C, Z, Y, X) uint16 tile; ``None``: scale it yourself, and run that."""
        ...
