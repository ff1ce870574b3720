"""Restored stacks of an acquisition as OME-Zarr that grows: one image (TCZYX) per position.

::

    run_1_restored/
        p000.ome.zarr/           OME-Zarr 0.5; can be opened at any moment
            zarr.json            which stacks are restored, and which are pending
            0/c/0/1/0/0/0        all planes of time 0, channel 1
            1/c/0/1/0/0/0        the same with half the rows and columns, where they are above 1024
        p000.reports/
            p000_t0000_c01.json

A stack is one shard, that is one file, whose chunks are its planes: it appears whole, and a viewer
reads single planes of it. What is not restored (yet) reads as zeros, like everything absent in a
Zarr array; the attribute ``live-restore`` of the group tells them apart.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from live_restore.errors import OutputError, StackRefusedError
from live_restore.files.naming import (
    error_bars_path,
    folder_of_result,
    position_candidates,
    result_token,
    stack_report_path,
    variants,
)
from live_restore.files.publish import (
    disk_errors,
    make_folder,
    publish_folder,
    remove_for_good,
    temporary_for,
)
from live_restore.files.reading import holds_nothing, read_regular
from live_restore.files.values import NotJsonError, json_object
from live_restore.formats.acquisition_format import AcquisitionInfo
from live_restore.outputs.annotations import Pairs, about_the_result
from live_restore.outputs.output import (
    FinishedStack,
    Proof,
    Publication,
    Published,
    ResultPath,
    ResultRequest,
    Verify,
)
from live_restore.outputs.provenance import made_by, report_name_is_ours
from live_restore.outputs.pyramid import levels_of, smaller
from live_restore.outputs.report import SOFTWARE, Report
from live_restore.stack import FileStacks, StackIndex, Volume, result_dtype

_ATTRIBUTE = "live-restore"
_HEADER_BYTES = 16 * 2**20
Ranges = list[list[int]]
_Index = Annotated[int, Field(ge=0, lt=2**31)]
_NOTE = "stacks that are not listed under restored hold no data: they read as zeros"


class OmeZarrOutput:
    """An image per position of an acquisition folder, which grows stack by stack; see ``Output``.

    Of acquisition folders only: ``request.acquisition_stack`` is not ``None``.
    """

    def choose(self, request: ResultRequest) -> ResultPath:
        """Return the image of the stack's position, and the stack's report; see ``Output``."""
        assert request.acquisition_stack is not None
        file_stacks, stack = request.file_stacks, request.acquisition_stack.index
        results = folder_of_result(file_stacks.path, request.template)
        token = result_token(file_stacks.path.parent, results, request.recipe)
        for number, image in enumerate(
            position_candidates(results, stack, request.model_name, token)
        ):
            if request.apart and number == 0 and not image.exists():
                continue
            mark = _mark(image)
            ours = mark is not None and mark.get("result") == token
            report = stack_report_path(image, stack.label)
            free = ours or not image.exists()
            holds = mark is not None and _holds(mark, stack)
            if request.error_bars:
                bars = error_bars_path(image)
                of_bars = _mark(bars)
                same = of_bars is not None and of_bars.get("result") == token
                free = free and (same or holds_nothing(bars))
                holds = holds and of_bars is not None and _holds(of_bars, stack)
            if free and report_name_is_ours(report):
                if mark is not None:
                    _require_shape(file_stacks, mark, image)
                return ResultPath(image, report, token, holds, begun=ours)
        raise OutputError(
            "is taken by something that live-restore did not write", image, "move it away"
        )

    def earlier(self, request: ResultRequest, proof: Proof) -> ResultPath | None:
        """Return a result that was made under another name; see ``Output``."""
        assert request.acquisition_stack is not None
        stack = request.acquisition_stack.index
        results = folder_of_result(request.file_stacks.path, request.template)
        token = result_token(request.file_stacks.path.parent, results, request.recipe)
        plain = next(position_candidates(results, stack, request.model_name, token))
        mark = _mark(plain)
        if mark is None or mark["result"] == token:
            return None
        for image in (plain, *variants(plain, ".ome.zarr")):
            mark, report = _mark(image), stack_report_path(image, stack.label)
            if mark is None or not _holds(mark, stack):
                continue
            if made_by(report, request.recipe) and proof(report):
                return ResultPath(image, report, str(mark["result"]), True, begun=True)
        return None

    def begin(
        self, request: ResultRequest, result_path: ResultPath, verify: Verify = tuple
    ) -> Publication:
        """Begin to add a stack to the image of its position; see ``Output``."""
        if not result_path.begun and result_path.image.exists():
            result_path = self.choose(request)  # somebody else's may have that name since
        return _OmeZarrPublication(request, result_path, verify)

    def made(self, path: Path) -> bool:
        """Return whether a folder is an image of ours; see ``Output``."""
        return _mark(path) is not None


class _OmeZarrPublication(Publication):
    """One stack for the image of its position: held in memory, then written as one shard."""

    def __init__(self, request: ResultRequest, result_path: ResultPath, verify: Verify) -> None:
        assert request.acquisition_stack is not None
        self._request = request
        self._of = request.acquisition_stack
        self._result_path = result_path
        self._verify = verify
        self._stack: FinishedStack | None = None

    def take(self, stack: FinishedStack) -> None:
        """Keep the one stack; see ``Publication``."""
        assert self._stack is None
        self._stack = stack

    def close(self) -> Published:
        """Write the stack, then its report; see ``Publication``."""
        stack, path = self._stack, self._result_path
        assert stack is not None
        report = Report(self._request, path.image.name)
        report.add(stack)
        report.warnings += self._verify()
        began = time.perf_counter()
        info, index = self._of.acquisition, self._of.index
        with disk_errors(path.image):
            remove_for_good(path.report)
            about = about_the_result(
                SOFTWARE, self._request.recipe, self._request.units, report.models
            )
            if self._request.error_bars:  # before the stack that they are of
                bars = replace(path, image=error_bars_path(path.image))
                report.bars_name = bars.image.name
                what = ("what", f"standard error (ADU) of the voxels of {path.image.name}")
                request = replace(self._request, units="camera-float")
                _add(bars, request, index, info, [what, *about], stack.bars)
            _add(path, self._request, index, info, about, stack.volume)
        return report.publish(path, publish=time.perf_counter() - began)

    def abandon(self) -> None:
        """Forget the stack; see ``Publication``."""
        self._stack = None


def _mark(folder: Path) -> dict[str, Any] | None:
    """Return what this program wrote about an image of its own, ``None`` for any other folder."""
    try:
        found = json_object(read_regular(folder / "zarr.json", _HEADER_BYTES))
        mark = found["attributes"][_ATTRIBUTE]
        _Mark.model_validate(mark)
    except (OSError, NotJsonError, LookupError, TypeError, ValidationError):
        return None
    return dict(mark)


def _holds(mark: dict[str, Any], stack: StackIndex) -> bool:
    return any(c == stack.channel and a <= stack.time <= b for c, a, b in mark["restored"])


class _Mark(BaseModel):
    """What has to hold of the mark, which anybody may have changed since."""

    result: str
    shape_zyx: tuple[int, int, int]
    restored: list[tuple[_Index, _Index, _Index]]


def _require_shape(file_stacks: FileStacks, mark: dict[str, Any], image: Path) -> None:
    if tuple(mark["shape_zyx"]) != file_stacks.shape_zyx:
        raise StackRefusedError(
            f"has {file_stacks.shape_zyx[0]} planes of {file_stacks.shape_zyx[1:]}, "
            f"where {image.name} has "
            f"{mark['shape_zyx'][0]} of {tuple(mark['shape_zyx'][1:])}",
            file_stacks.path,
            'set output.acquisitions = "ome-tiff"',
        )


def _add(
    result_path: ResultPath,
    request: ResultRequest,
    stack: StackIndex,
    info: AcquisitionInfo,
    about: Pairs,
    volume: Volume,
) -> None:
    """Add a stack to an image, which is made where it is not there."""
    if holds_nothing(result_path.image):
        _create(result_path, request, stack, info, about)
    _write(result_path, stack, volume, info)


def _create(
    result_path: ResultPath,
    request: ResultRequest,
    stack: StackIndex,
    info: AcquisitionInfo,
    about: Pairs,
) -> None:
    """Make the image of a position; it appears with all its metadata."""
    import zarr
    from zarr.codecs import ZstdCodec

    from live_restore.outputs.zarr_store import PublishingStore

    file_stacks, results = request.file_stacks, result_path.image.parent
    make_folder(results)
    z, y, x = file_stacks.shape_zyx
    channels = max(len(info.channel_names), stack.channel + 1)
    attributes = {
        "ome": _ome(file_stacks, stack, info),
        _ATTRIBUTE: {
            "software": SOFTWARE,
            "result": result_path.token,
            "shape_zyx": [z, y, x],
            "restored": [],
            "pending": [],
            "note": _NOTE,
            "about": dict(about),
            "reports": result_path.report.parent.name,
        },
    }
    temporary = temporary_for(result_path.image)
    try:
        temporary.mkdir()
        group = zarr.create_group(
            PublishingStore(temporary, results), zarr_format=3, attributes=attributes
        )
        for level in range(levels_of(y, x)):
            rows, columns = -(-y // 2**level), -(-x // 2**level)
            group.create_array(
                str(level),
                shape=(1, channels, z, rows, columns),
                shards=(1, 1, z, rows, columns),
                chunks=(1, 1, 1, rows, columns),
                dtype=result_dtype(file_stacks.dtype, request.units),
                compressors=ZstdCodec(level=1),
                fill_value=0,
                dimension_names=("t", "c", "z", "y", "x"),
            )
        publish_folder(temporary, result_path.image)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(
    result_path: ResultPath, stack: StackIndex, volume: Volume, info: AcquisitionInfo
) -> None:
    """Add a stack to an image, and then say so in its metadata."""
    import zarr

    from live_restore.outputs.zarr_store import PublishingStore

    mark = _mark(result_path.image)
    if mark is None or mark["result"] != result_path.token:
        raise OutputError("is no image of live-restore any more", result_path.image, "move it away")
    group = zarr.open_group(PublishingStore(result_path.image, result_path.image.parent), mode="r+")
    times, channels = stack.time + 1, max(stack.channel + 1, len(info.channel_names))
    at_level = volume
    # An image that an earlier version began has one level, and keeps it.
    for level in range(levels_of(*volume.shape[1:])):
        array = group.get(str(level))
        if level and array is None:
            break
        assert isinstance(array, zarr.Array)
        at_level = smaller(at_level) if level else volume
        times, channels = max(array.shape[0], times), max(array.shape[1], channels)
        if (times, channels) != array.shape[:2]:
            array.resize((times, channels, *array.shape[2:]))
        array[stack.time, stack.channel] = at_level
    mark["restored"] = _with(mark["restored"], stack.channel, stack.time)
    mark["pending"] = _without(mark["restored"], channels, times)
    ome = dict(group.attrs["ome"])  # type: ignore[arg-type]
    ome["omero"] = {"channels": _channels(ome, info, channels, stack.channel, volume)}
    group.update_attributes({"ome": ome, _ATTRIBUTE: mark})


def _ome(file_stacks: FileStacks, stack: StackIndex, info: AcquisitionInfo) -> dict[str, Any]:
    """Return the attributes that OME-Zarr 0.5 asks for."""
    voxel = file_stacks.voxel
    sizes = (file_stacks.time_increment_s, None, voxel.z_um, voxel.y_um, voxel.x_um)
    kinds = (("t", "time"), ("c", "channel"), ("z", "space"), ("y", "space"), ("x", "space"))
    units = {"time": "second", "space": "micrometer"}
    axes = [
        {"name": name, "type": kind, **({"unit": units[kind]} if size is not None else {})}
        for (name, kind), size in zip(kinds, sizes, strict=True)
    ]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": info.position_name(stack.position),
                "axes": axes,
                "datasets": [
                    _level([size or 1.0 for size in sizes], level)
                    for level in range(levels_of(*file_stacks.shape_zyx[1:]))
                ],
            }
        ],
    }


def _level(scale: list[float], level: int) -> dict[str, Any]:
    """Return the dataset of a level: the first of its voxels is the mean of some, between them."""
    path, step = str(level), 2**level
    transformations: list[dict[str, Any]] = [
        {"type": "scale", "scale": [*scale[:3], *(size * step for size in scale[3:])]}
    ]
    if level:
        between = [0.0, 0.0, 0.0, *(size * (step - 1) / 2 for size in scale[3:])]
        transformations.append({"type": "translation", "translation": between})
    return {"path": path, "coordinateTransformations": transformations}


def _channels(
    ome: dict[str, Any], info: AcquisitionInfo, channels: int, written: int, volume: Volume
) -> list[dict[str, Any]]:
    """Return how viewers are to show the channels: by the grey values of their first stacks."""
    before = ome.get("omero", {}).get("channels", [])
    # Error bars are not known everywhere.
    known = volume[np.isfinite(volume)] if volume.dtype.kind == "f" else volume
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    window = {"min": low, "max": high, "start": low, "end": high}
    shown = [
        before[c] if c < len(before) else {"color": "FFFFFF", "window": window}
        for c in range(channels)
    ]
    if not shown[written].get("active"):
        shown[written] = {"color": "FFFFFF", "window": window, "active": True}
    return [{**channel, "label": info.channel_name(c)} for c, channel in enumerate(shown)]


def _with(ranges: Ranges, channel: int, time: int) -> Ranges:
    """Return ranges of [channel, first time, last time], in order, with one time more.

    They stay ranges: a run may count its time points from any number.

    >>> _with([[0, 0, 2], [1, 5, 5]], 0, 3)
    [[0, 0, 3], [1, 5, 5]]
    """
    merged: Ranges = []
    for c, first, last in sorted([*ranges, [channel, time, time]]):
        if merged and merged[-1][0] == c and first <= merged[-1][2] + 1:
            merged[-1][2] = max(merged[-1][2], last)
        elif first <= last:
            merged.append([c, first, last])
    return merged


def _without(ranges: Ranges, channels: int, times: int) -> Ranges:
    """Return what is missing in ranges that are in order, up to so many channels and times.

    >>> _without([[0, 0, 2], [1, 5, 5]], 2, 7)
    [[0, 3, 6], [1, 0, 4], [1, 6, 6]]
    """
    missing: Ranges = []
    for channel in range(channels):
        following = 0
        for c, first, last in ranges:
            if c == channel:
                missing.append([channel, following, min(first, times) - 1])
                following = last + 1
        missing.append([channel, following, times - 1])
    return [each for each in missing if each[1] <= each[2]]
