"""Which stacks of a run a model is adapted on: some, spread over all of it, and a part of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from live_restore.engine.finished_acquisition import FinishedAcquisition
from live_restore.engine.stack_job import StackJob
from live_restore.errors import StackError, StackRefusedError, UsageError
from live_restore.formats.table import acquisition_format_for, make_acquisition_formats
from live_restore.inference.cameras import KnownCamera, choose_camera
from live_restore.inference.image.defects import defects_of, without_defects
from live_restore.inference.model_set import cameras_of
from live_restore.settings.camera import CameraSettings
from live_restore.settings.model import FilesSettings, Settings
from live_restore.stack import FileStacks, StackIndex, Volume
from live_restore.trust.snr import estimate_snr
from live_restore_export.training.stacks import (
    file_stacks_of,
    read_stack,
    require_usable,
    stacks_of,
    tiff_files_in,
    voxel_um_of,
)

MOST_STACKS = 12
"""Of a run, that are read: more of the same sample teach little more in half an hour."""
MOST_VOXELS, MOST_HELD_OUT_VOXELS = 2**21, 2**19
"""Of a stack to learn from, and of one to judge by: `standard` restores 100,000 in a second on two
cores, and judges every held-out stack eight times."""
_HELD_OUT_EVERY = 4
LEAST_SIGNAL = 0.5
"""Signal-to-noise ratio of a stack to learn from. Of 136 stacks of nothing but noise (0.2 to 30 e-,
4 x 32 x 32 to 32 x 512 x 512 voxels) 135 have less than 0.31, and one of 5 x 48 x 64 has 0.59."""


@dataclass(frozen=True)
class RunStack:
    """The part of a stack that is used, its camera, and which stack it is, for people."""

    raw: Volume
    camera: CameraSettings
    label: str


@dataclass(frozen=True)
class RunStacks:
    """Stacks to learn from, and others to judge by; never the same."""

    learning: tuple[RunStack, ...]
    held_out: tuple[RunStack, ...]
    voxel_um: dict[str, tuple[float, float]]
    passed_by: tuple[str, ...]


@dataclass(frozen=True)
class _Listed:
    """A stack that was found and not yet read."""

    file_stacks: FileStacks
    index: StackIndex
    label: str
    read: Callable[[], Volume]


def known_cameras(run: Path, settings: Settings) -> tuple[KnownCamera, ...]:
    """Return the cameras of the settings; raises ``UsageError`` where there is none."""
    cameras = cameras_of(settings)
    if not cameras:
        raise UsageError(
            "cannot be learnt from without its camera: photons are dealt out by its gain",
            run,
            "measure it with `live-restore camera FILES --save config.toml` and name that file "
            "with --config",
        )
    return cameras


def read_run(run: Path, settings: Settings, channel: int, ranks: tuple[float, float]) -> RunStacks:
    """Read stacks of a run: of a folder of TIFF files, one such file, or an acquisition's folder.

    Parameters
    ----------
    run
        Where they lie; opened for reading only.
    settings
        They tell the cameras.
    channel
        Which one, from 0: one model learns from one channel.
    ranks
        Percentiles of a stack that are 0 and 1 to the network.

    Raises
    ------
    UsageError
        Fewer than two stacks can be used, or a camera is not known.
    StackError
        The run is no run.
    """
    cameras = known_cameras(run, settings)
    found: list[RunStack] = []
    sizes: list[FileStacks] = []
    passed_by: list[str] = []
    listed = _listed(run, settings.files, ranks, passed_by)
    for each in _spread([s for s in listed if s.index.channel == channel]):
        camera = _camera_of(each, cameras)
        try:
            volume = each.read()
            _require_signal(volume, each)
        except StackError as error:
            passed_by.append(str(error))
            continue
        part = _part(volume, MOST_VOXELS)[np.newaxis]
        raw = without_defects(part, defects_of(part, None)[0])[0]
        found.append(RunStack(raw, camera, each.label))
        sizes.append(each.file_stacks)
    if len(found) < 2:
        raise UsageError(
            f"has {len(found)} stack(s) of channel {channel} that can be used, and two are needed: "
            "one is held out, to judge by",
            run,
            "; ".join(passed_by) or "record more, or name another --channel",
        )
    held_out = range(_HELD_OUT_EVERY - 1, len(found), _HELD_OUT_EVERY) or range(1, 2)
    return RunStacks(
        tuple(each for number, each in enumerate(found) if number not in held_out),
        tuple(
            replace(found[number], raw=_part(found[number].raw, MOST_HELD_OUT_VOXELS))
            for number in held_out
        ),
        voxel_um_of(sizes),
        tuple(passed_by),
    )


def _camera_of(stack: _Listed, cameras: Sequence[KnownCamera]) -> CameraSettings:
    """Return the camera of a stack; raises ``UsageError`` where it is not known."""
    file_stacks, channel = stack.file_stacks, stack.index.channel
    choice = choose_camera(
        cameras,
        file_stacks.channel_name(channel),
        file_stacks.first_channel + channel,
        file_stacks.camera_serial(channel),
    )
    if choice.camera is None:
        raise UsageError(
            f"was recorded by no camera that is known: {choice.unknown_because}",
            file_stacks.path,
            "correct [[cameras]]",
        )
    return choice.camera.settings


def _require_signal(volume: Volume, stack: _Listed) -> None:
    """Refuse a stack of next to nothing but noise: what is learnt of it is to return nothing.

    Raises
    ------
    StackRefusedError
        It is one.
    """
    found = estimate_snr(volume)
    if found is None or found.ratio < LEAST_SIGNAL:
        raise StackRefusedError(
            f"{stack.label} shows next to nothing but noise", stack.file_stacks.path
        )


def _listed(
    run: Path, files: FilesSettings, ranks: tuple[float, float], passed_by: list[str]
) -> Iterator[_Listed]:
    """Yield what a run holds; what cannot be read of a folder goes to ``passed_by``."""
    if run.is_dir():
        formats = make_acquisition_formats(plane_pattern=files.plane_pattern)
        if acquisition_format_for(run, formats) is not None:
            yield from _of_acquisition(FinishedAcquisition(run, formats), files, ranks, passed_by)
            return
        found = []
        for path in tiff_files_in(run):
            try:
                found.append(file_stacks_of(path))
            except StackError as error:
                passed_by.append(str(error))
    else:
        found = [file_stacks_of(run)]
    for ref in stacks_of(found):
        yield _Listed(ref.file_stacks, ref.index, ref.label, partial(read_stack, ref, ranks))


def _of_acquisition(
    run: FinishedAcquisition,
    files: FilesSettings,
    ranks: tuple[float, float],
    passed_by: list[str],
) -> Iterator[_Listed]:
    for index in run.stacks():
        try:
            job = run.job(index, files)
        except StackError as error:
            passed_by.append(str(error))
            continue
        yield _Listed(
            job.file_stacks, index, index.label, partial(_volume_of, job, index.label, ranks)
        )


def _volume_of(job: StackJob, label: str, ranks: tuple[float, float]) -> Volume:
    volume = next(each.volume for each in job.read() if each is not None)
    require_usable(volume, label, job.file_stacks.path, ranks)
    return volume


def _spread(listed: Sequence[_Listed]) -> list[_Listed]:
    """Return at most 12 of them, evenly spread from the first to the last."""
    places = np.linspace(0, len(listed) - 1, min(len(listed), MOST_STACKS)).round().astype(int)
    return [listed[place] for place in np.unique(places).tolist()]


def _part(volume: Volume, most: int) -> Volume:
    """Return the part of a stack that has most contrast among nine along Y and X, copied.

    Of a large field most may be empty, and there is nothing to learn from that.
    """
    z, y, x = volume.shape
    planes = min(z, 64)
    side = int((most / planes) ** 0.5)
    first = (z - planes) // 2
    height, width = min(y, side), min(x, side)
    candidates = [
        volume[first : first + planes, top : top + height, left : left + width]
        for top in sorted({round((y - height) * share) for share in (0.0, 0.5, 1.0)})
        for left in sorted({round((x - width) * share) for share in (0.0, 0.5, 1.0)})
    ]
    return max(candidates, key=lambda part: float(part[:, ::4, ::4].std())).copy()
