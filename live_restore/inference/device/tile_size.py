"""How large a tile may be: what memory holds, and what can still be stopped in time."""

from __future__ import annotations

import threading

from live_restore.files.values import integer
from live_restore.inference.backends.session import Device
from live_restore.inference.model.card import ModelCard

# Feature volumes that are alive at once. From the growth of peak memory between two tile sizes,
# 2026-11-24: ONNX Runtime CPU 5.7 and 5.4 (bundled model; C 32 G 2 B 3), OpenVINO fp32 5.9 and
# 6.1, bf16 6.8 and 6.0.
_FEATURE_VOLUMES = 7
_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
# Main memory belongs to the acquisition program first; on a GPU, convolutions want workspace.
_PART_OF_CPU_MEMORY = 0.25
_PART_OF_GPU_MEMORY = 0.6
# A stop waits for the tile in hand. At 5 s a slow computer cut stacks of 32 x 512 x 512 into twelve
# tiles, and a quarter of its work went into overlaps.
_LONGEST_S = 10.0
# Where neither memory nor rate is known: what has always fitted.
_UNKNOWN_VOXELS = 2_000_000
# Below it, channel attention sees too little of the stack for its means to hold.
SMALLEST_VOXELS = 500_000


def bytes_per_voxel(card: ModelCard, precision: str) -> int:
    """Return the peak memory of the network per voxel of a tile (bytes).

    Examples
    --------
    >>> folded = {"channels": 24, "lateral_shuffle": 2}
    >>> bytes_per_voxel(ModelCard(name="fast", architecture=folded), "bf16")
    84
    """
    # Of the architecture nothing is promised: cards of other programs may say anything there.
    channels = integer(card.architecture.get("channels")) or 32
    fold = integer(card.architecture.get("lateral_shuffle")) or 1
    return max(1, _FEATURE_VOLUMES * channels * _BYTES.get(precision, 4) // fold**2)


def largest_tile_voxels(card: ModelCard, device: Device) -> int:
    """Return the largest tile for a model on a device: a power of two in voxels.

    A power of two, because rates and free memory differ from start to start, and the tiles, which
    channel attention lets show in the result, should not.
    """
    if not device.memory_bytes or not device.mvoxel_per_s:
        return _UNKNOWN_VOXELS
    part = _PART_OF_GPU_MEMORY if device.on_gpu else _PART_OF_CPU_MEMORY
    fits = part * device.memory_bytes / bytes_per_voxel(card, device.precision)
    in_time = device.mvoxel_per_s * 1e6 * _LONGEST_S
    return max(SMALLEST_VOXELS, 1 << (max(1, int(min(fits, in_time))).bit_length() - 1))


class TileLimit:
    """The largest tile that is tried on a device; it only becomes smaller.

    The workers of a device share it, so that where memory ran out for one of them, the stacks that
    follow need not fail first. Safe to be used by several threads.

    Parameters
    ----------
    voxels
        The limit to begin with.
    """

    def __init__(self, voxels: int) -> None:
        self._lock = threading.Lock()
        self._voxels = voxels
        self._why = ""

    def read(self) -> tuple[int, str]:
        """Return the limit (voxels) and why it was lowered, "" where it was not."""
        with self._lock:
            return self._voxels, self._why

    def lower(self, voxels: int, why: str) -> tuple[int, str]:
        """Lower the limit, unless another worker has lowered it further; return what holds now."""
        with self._lock:
            if voxels < self._voxels:
                self._voxels, self._why = voxels, why
            return self._voxels, self._why
