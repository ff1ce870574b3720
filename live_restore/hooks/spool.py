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

from live_restore.errors import OutputError, one_line
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
        self._no_room_planes = 0
        self._flat: set[int] = set()
        self._deep: set[int] = set()
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
            self._no_room_planes += 1
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

    def finish(self) -> list[str]:
        """Publish what is whole now that the acquisition is over; return what was left out.

        Raises
        ------
        OutputError
            The disk refused.
        """
        self._publish_whole(over=True)
        incomplete, single = 0, set()
        for stack_index, part in self._parts.items():
            part.path.unlink(missing_ok=True)
            if len(part.slots) > 1 or stack_index.channel in self._deep:
                incomplete += 1
            else:  # without z-stack, or cut after its first plane
                single.add(stack_index.channel)
        self._parts.clear()
        left_out = [f"channel {self._channel(c)} has no z-stack" for c in sorted(self._flat)]
        single -= self._flat
        left_out += [f"channel {self._channel(c)}: a single plane" for c in sorted(single)]
        if incomplete:
            left_out.append(f"{incomplete} incomplete stack(s)")
        if self._no_room_planes:
            planes = f"{self._no_room_planes} plane(s) for which there was no room"
            left_out.append(f"{planes} (save to disk instead)")
        return left_out

    def _channel(self, number: int) -> str:
        named = number < len(self._channel_names)
        name = one_line(self._channel_names[number]) if named else ""
        return f'{number} "{name}"' if name else str(number)

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
            self._deep.add(stack_index.channel)
        else:
            self._flat.add(stack_index.channel)
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
