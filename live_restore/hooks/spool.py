"""Planes that no program saves, kept on disk until they are whole stacks. Bounded.

::

    planes ──> .p000_t0000_c00.part ──(its last plane)──> p000_t0000_c00.ome.tif ──> watched

A stack is published under its name when it is whole: what watches the folder needs to know nothing
of this. Memory holds one stack, while it is published.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import OutputError
from live_restore.files.publish import publishing
from live_restore.formats.acquisition_format import AcquisitionPlan
from live_restore.formats.plan import Ledger, NoPlan
from live_restore.stack import StackIndex, VoxelSize

LIMIT_BYTES = 50 * 2**30
"""A folder of unsaved planes grows to this size and no further."""
_FREE_BYTES = 2 * 2**30
"""Left free on the disk: the acquisition's own data may go there too."""


@dataclass
class _Part:
    path: Path
    shape_yx: tuple[int, int]
    dtype: np.dtype[np.generic]
    slots: dict[int, int] = field(default_factory=dict)


class Spool:
    """The planes of one acquisition.

    Parameters
    ----------
    folder
        Is created; stacks get their names in it.
    plan
        What the acquisition intends, as far as anybody knows.
    voxel, channel_names
        Written into each stack.
    limit_bytes
        Further planes are dropped.
    """

    def __init__(
        self,
        folder: Path,
        plan: AcquisitionPlan | None = None,
        *,
        voxel: VoxelSize | None = None,
        channel_names: Sequence[str] = (),
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self.folder = folder
        self._plan = plan or NoPlan()
        self._voxel = voxel or VoxelSize()
        self._channel_names = channel_names
        self._limit_bytes = limit_bytes
        self._ledger = Ledger()
        self._parts: dict[StackIndex, _Part] = {}
        self._bytes = 0
        self.left_out = 0
        """Planes for which there was no room."""
        self.stacks = 0
        """Stacks published."""

    def add(self, stack_index: StackIndex, z: int, plane: NDArray[np.generic]) -> None:
        """Take one plane, (Y, X), in grey values.

        Raises
        ------
        OutputError
            The disk refused, or the planes of a stack differ in shape or type.
        """
        if not self._has_room(plane.nbytes):
            self.left_out += 1
            return
        part = self._part(stack_index, plane)
        slot = part.slots.setdefault(z, len(part.slots))
        try:
            with part.path.open("r+b" if part.path.exists() else "w+b") as file:
                file.seek(slot * plane.nbytes)
                file.write(np.ascontiguousarray(plane).data)
        except OSError as error:
            raise OutputError(
                f"cannot be written ({error.strerror or error})", part.path, "check that disk"
            ) from error
        self._bytes += plane.nbytes
        self._ledger.add(stack_index, z, blank=not plane.any())
        self._publish_whole(over=False)

    def finish(self) -> int:
        """Publish what is whole now that the acquisition is over; return how many stacks are not.

        Raises
        ------
        OutputError
            The disk refused.
        """
        self._publish_whole(over=True)
        left = sum(len(part.slots) > 1 for part in self._parts.values())
        for part in self._parts.values():
            part.path.unlink(missing_ok=True)
        self._parts.clear()
        return left

    def _has_room(self, size: int) -> bool:
        if self._bytes + size > self._limit_bytes:
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free - size > _FREE_BYTES

    def _part(self, stack_index: StackIndex, plane: NDArray[np.generic]) -> _Part:
        part = self._parts.get(stack_index)
        shape = (plane.shape[0], plane.shape[1])
        if part is None:
            path = self.folder / f".{_name(stack_index)}.part"
            part = self._parts[stack_index] = _Part(path, shape, plane.dtype)
            path.unlink(missing_ok=True)
        if (part.shape_yx, part.dtype) != (shape, plane.dtype):
            raise OutputError(
                "planes of one stack differ in shape or type", part.path, "record it again"
            )
        return part

    def _publish_whole(self, *, over: bool) -> None:
        evidence = self._ledger.evidence(self._plan, over)
        for stack_index in [p for p in self._parts if evidence[p].complete]:
            self._publish(stack_index, self._parts.pop(stack_index))

    def _publish(self, stack_index: StackIndex, part: _Part) -> None:
        import tifffile

        if len(part.slots) > 1:  # a channel without z-stack has nothing to restore in 3-D
            height, width = part.shape_yx
            stored = np.fromfile(part.path, part.dtype).reshape(-1, height, width)
            stack = stored[[slot for _, slot in sorted(part.slots.items())]]
            with publishing(self.folder / f"{_name(stack_index)}.ome.tif") as temporary:
                tifffile.imwrite(
                    temporary, stack, ome=True, photometric="minisblack",
                    metadata=self._metadata(stack_index),
                )  # fmt: skip
            self.stacks += 1
        part.path.unlink(missing_ok=True)

    def _metadata(self, stack_index: StackIndex) -> dict[str, object]:
        metadata: dict[str, object] = {"axes": "ZYX"}
        sizes = (self._voxel.z_um, self._voxel.y_um, self._voxel.x_um)
        for axis, size in zip("ZYX", sizes, strict=True):
            if size:
                metadata[f"PhysicalSize{axis}"] = size
        if stack_index.channel < len(self._channel_names):
            name = self._channel_names[stack_index.channel]
            metadata["Channel"] = {"Name": ["".join(c for c in name if c.isprintable())]}
        return metadata


def _name(stack_index: StackIndex) -> str:
    return f"p{stack_index.position:03d}_t{stack_index.time:04d}_c{stack_index.channel:02d}"
