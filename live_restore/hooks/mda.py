"""Follows acquisitions of pymmcore-plus: saved ones by their files, others plane by plane."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from live_restore.errors import StackChangedError, UsageError
from live_restore.files.user_folders import fresh_folder, unsaved_folder
from live_restore.files.values import positive
from live_restore.formats.acquisition_format import AcquisitionPlan
from live_restore.formats.axes import AxisLabels
from live_restore.formats.zarr.metadata import RunFacts
from live_restore.hooks.spool import Spool
from live_restore.stack import VoxelSize

HELD_BYTES = 2**30
"""Planes that wait for the disk take at most this much memory; further ones are dropped."""

_ENDING = re.compile(r"(?:\.ome)?\.(zarr|tiff?)$", re.IGNORECASE)
# What useq calls the axes of an event, and what a stack is known by. Others make more positions.
_AXES = {"t": "time", "p": "position", "c": "channel", "z": "z"}


class _HeldPlanes:
    """Counts the planes in memory, without a lock: each number is written by one thread only."""

    def __init__(self) -> None:
        self._received_bytes = self._taken_bytes = 0
        self._dropped = 0

    def receive(self, size_bytes: int) -> bool:
        """Count a plane in, on the acquisition's thread; ``False`` if it must be dropped."""
        if self._received_bytes - self._taken_bytes + size_bytes > HELD_BYTES:
            self._dropped += 1
            return False
        self._received_bytes += size_bytes
        return True

    def take(self, size_bytes: int) -> None:
        """Count a plane out, on the other thread."""
        self._taken_bytes += size_bytes

    def reset_dropped(self) -> int:
        """Return how many were dropped since the last time, once the acquisition is over."""
        dropped, self._dropped = self._dropped, 0
        return dropped


class MdaFollower:
    """One ``mmc.mda`` and the acquisitions that it makes.

    Parameters
    ----------
    mda
        ``CMMCorePlus.mda``.
    output
        What its acquisitions are saved to (absolute), ``None`` if they are not saved.
    unsaved
        Folder for what is not saved; ``None``: the user's data folder.
    enqueue
        Takes work for another thread; returns at once.
    say
        Shows the person one line.

    Raises
    ------
    UsageError
        The ending of ``output`` is of no format that pymmcore-plus and live-restore share.
    """

    def __init__(
        self,
        mda: Any,
        output: Path | None,
        unsaved: Path | None,
        enqueue: Callable[[Callable[[], None]], None],
        say: Callable[[str], None],
    ) -> None:
        if output is not None and not _ENDING.search(output.name):
            raise UsageError(
                "cannot be followed", output, "give run_mda an output .ome.zarr or .ome.tiff"
            )
        self._mda = mda
        self._output = output
        self._unsaved = unsaved
        self._enqueue = enqueue
        self._say = say
        self._held = _HeldPlanes()
        self._spool: Spool | None = None
        self._followed: Path | None = None
        self._labels = AxisLabels()

    def connect(self, begin: Callable[[Path], None], end: Callable[[Path], None]) -> None:
        """Listen; ``begin`` and ``end`` get, in the other thread, an acquisition's path."""
        self._begin, self._end = begin, end
        events = self._mda.events
        events.sequenceStarted.connect(self._started)
        events.sequenceFinished.connect(self._finished)
        if self._output is None:
            events.frameReady.connect(self._frame)

    @property
    def running(self) -> bool:
        """Whether an acquisition goes on."""
        return bool(self._mda.is_running())

    def disconnect(self) -> None:
        """Listen no more."""
        events = self._mda.events
        events.sequenceStarted.disconnect(self._started)
        events.sequenceFinished.disconnect(self._finished)
        if self._output is None:
            events.frameReady.disconnect(self._frame)

    # On the acquisition's thread: note it and return ----------------------------------------------

    def _started(self, sequence: Any, meta: Any) -> None:
        self._enqueue(partial(self._begin_run, sequence, meta))

    def _frame(self, image: Any, event: Any, meta: Any) -> None:  # noqa: ARG002
        if self._held.receive(image.nbytes):
            self._enqueue(partial(self._take, image, event.index))

    def _finished(self, sequence: Any) -> None:  # noqa: ARG002
        self._enqueue(self._end_run)

    # On the other thread --------------------------------------------------------------------------

    def _begin_run(self, sequence: Any, meta: Any) -> None:
        if self._output is None:
            self._begin_spool(sequence, meta)
        elif self._output.name.lower().endswith(".zarr"):
            self._followed = _written(self._output)
            self._begin(self._followed)

    def _begin_spool(self, sequence: Any, meta: Any) -> None:
        folder = fresh_folder(self._unsaved or unsaved_folder())
        facts = RunFacts()
        if sequence.axis_order:  # events from a generator come with an empty sequence
            described = sequence.model_dump(mode="json")
            facts.read({"pymmcore_plus": {"summary_metadata": {"mda_sequence": described}}})
        plan: AcquisitionPlan | None = facts.order.plan if facts.order else None
        z_um = facts.order.z_step_um if facts.order else None
        pixel_um = _pixel_um(meta)
        self._labels = AxisLabels()
        self._spool = Spool(
            folder,
            plan,
            voxel=VoxelSize(z_um, pixel_um, pixel_um),
            channel_names=facts.channel_names,
        )
        self._begin(folder)

    def _take(self, image: Any, index: Any) -> None:
        self._held.take(image.nbytes)
        if self._spool is None:
            return  # the block began in the middle of an acquisition
        axes = {_AXES.get(name, f"useq {name}"): int(at) for name, at in dict(index).items()}
        stack_index, z = self._labels.stack_index(axes)
        self._spool.add(stack_index, z, image)

    def _end_run(self) -> None:
        if self._spool is not None:
            spool, self._spool = self._spool, None
            left_out = spool.finish()
            dropped = self._held.reset_dropped()
            if dropped:
                left_out.append(f"{dropped} plane(s) that came faster than the disk takes them")
            if left_out:
                self._say(f"{spool.folder}: not restored: {'; '.join(left_out)}")
            self._end(spool.folder)
        elif self._output is not None:
            path = _written(self._output)
            if path != self._followed:  # OME-TIFF, or what was not there when the acquisition began
                self._begin(path)
            self._followed = None
            self._end(path)


def _written(output: Path) -> Path:
    """Return what ome-writers made of ``output``: it completes endings, and makes a folder of
    several OME-TIFF files (version 0.3).

    Raises
    ------
    StackChangedError
        There is nothing.
    """
    stem = _ENDING.sub("", output.name)
    if output.name.lower().endswith(".zarr"):
        names = [output.name, f"{stem}.ome.zarr"]
    else:
        names = [output.name, f"{stem}.ome.tiff", f"{stem}.ome.tif", stem]
    for name in names:
        if (output.parent / name).exists():
            return output.parent / name
    raise StackChangedError(
        "is not there", output, "give live.follow the output that run_mda is given"
    )


def _pixel_um(meta: Any) -> float | None:
    """Return the pixel size of an acquisition's images (um)."""
    images = meta.get("image_infos") if isinstance(meta, dict) else None
    return positive(images[0].get("pixel_size_um")) if images else None
