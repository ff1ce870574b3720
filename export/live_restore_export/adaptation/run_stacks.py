"""Which stacks of a run a model is adapted on: some, spread over all of it, and a part of each."""

from __future__ import annotations

from collections import Counter
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
from live_restore.inference.channel_patterns import any_matches
from live_restore.inference.image.defects import defects_of, without_defects
from live_restore.inference.model_set import cameras_of
from live_restore.settings.camera import CameraSettings
from live_restore.settings.model import FilesSettings, ModelRule, Settings
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
class FoundStack:
    """A stack that was found and not yet read.

    Parameters
    ----------
    file_stacks
        The file that it lies in; of an acquisition, what describes this stack alone.
    index
        Which it is in the run.
    label
        Which it is, for people.
    read
        Reads its voxels (Z, Y, X), given the percentiles that are 0 and 1 to the network.
    """

    file_stacks: FileStacks
    index: StackIndex
    label: str
    read: Callable[[tuple[float, float]], Volume]

    @property
    def channel_in_file(self) -> int:
        """Number of its channel in ``file_stacks``."""
        return self.index.channel - self.file_stacks.first_channel

    def model_of(self, rules: Sequence[ModelRule]) -> str | None:
        """Return the model that restores it, the first of several steps, or ``None``."""
        name = self.file_stacks.channel_name(self.channel_in_file)
        for rule in rules:
            if any_matches(rule.channels, name, self.index.channel):
                return None if rule.skip else rule.names[0]
        return None


@dataclass(frozen=True)
class FoundStacks:
    """What a run holds of a channel, in order, and what was passed by, for people."""

    run: Path
    channel: int
    stacks: tuple[FoundStack, ...]
    passed_by: tuple[str, ...]

    def with_their_model(self, rules: Sequence[ModelRule]) -> tuple[FoundStacks, str]:
        """Return the model that restores most of the stacks, and those that it restores.

        Raises
        ------
        UsageError
            The rules restore none of them.
        """
        models = [each.model_of(rules) for each in self.stacks]
        restoring = Counter(model for model in models if model is not None)
        if not restoring:
            raise UsageError(
                f"the settings name no model for channel {self.channel}", self.run,
                "name one with --model, or another --channel",
            )  # fmt: skip
        chosen = restoring.most_common(1)[0][0]
        stacks = tuple(s for s, model in zip(self.stacks, models, strict=True) if model == chosen)
        others = len(self.stacks) - len(stacks)
        said = f"{others} stack(s), which the settings do not restore with {chosen}"
        passed_by = (*self.passed_by, *([said] if others else []))
        return replace(self, stacks=stacks, passed_by=passed_by), chosen


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


def find_stacks(run: Path, files: FilesSettings, channel: int) -> FoundStacks:
    """Find the stacks of a run's channel; nothing is written.

    Parameters
    ----------
    run
        A folder of TIFF files, one such file, or an acquisition's folder.
    files
        How files are read.
    channel
        Which one, from 0: one model learns from one channel.

    Raises
    ------
    UsageError
        There are fewer than two.
    StackError
        The run is no run.
    """
    passed_by: list[str] = []
    stacks = tuple(s for s in _found(run, files, passed_by) if s.index.channel == channel)
    found = FoundStacks(run, channel, stacks, tuple(passed_by))
    _require_two(len(stacks), found, passed_by)
    return found


def read_run(found: FoundStacks, settings: Settings, ranks: tuple[float, float]) -> RunStacks:
    """Read stacks of a run, spread over all of it.

    Parameters
    ----------
    found
        Those that there are; opened for reading only.
    settings
        They tell the cameras.
    ranks
        Percentiles of a stack that are 0 and 1 to the network.

    Raises
    ------
    UsageError
        Fewer than two stacks can be used, or a camera is not known.
    """
    cameras = known_cameras(found.run, settings)
    usable: list[RunStack] = []
    sizes: list[FileStacks] = []
    passed_by = [*found.passed_by]
    for each in _spread(found.stacks):
        camera = _camera_of(each, cameras)
        try:
            volume = each.read(ranks)
            _require_signal(volume, each)
        except StackError as error:
            passed_by.append(str(error))
            continue
        part = _part(volume, MOST_VOXELS)[np.newaxis]
        raw = without_defects(part, defects_of(part, None)[0])[0]
        usable.append(RunStack(raw, camera, each.label))
        sizes.append(each.file_stacks)
    _require_two(len(usable), found, passed_by)
    held_out = range(_HELD_OUT_EVERY - 1, len(usable), _HELD_OUT_EVERY) or range(1, 2)
    return RunStacks(
        tuple(each for number, each in enumerate(usable) if number not in held_out),
        tuple(
            replace(usable[number], raw=_part(usable[number].raw, MOST_HELD_OUT_VOXELS))
            for number in held_out
        ),
        voxel_um_of(sizes),
        tuple(passed_by),
    )


def _require_two(count: int, found: FoundStacks, passed_by: Sequence[str]) -> None:
    if count < 2:
        raise UsageError(
            f"has {count} stack(s) of channel {found.channel} that can be used, and two are "
            "needed: one is held out, to judge by",
            found.run,
            "; ".join(passed_by) or "record more, or name another --channel",
        )


def _camera_of(stack: FoundStack, cameras: Sequence[KnownCamera]) -> CameraSettings:
    """Return the camera of a stack; raises ``UsageError`` where it is not known."""
    file_stacks, channel = stack.file_stacks, stack.channel_in_file
    choice = choose_camera(
        cameras,
        file_stacks.channel_name(channel),
        stack.index.channel,
        file_stacks.camera_serial(channel),
    )
    if choice.camera is None:
        raise UsageError(
            f"was recorded by no camera that is known: {choice.unknown_because}",
            file_stacks.path,
            "correct [[cameras]]",
        )
    return choice.camera.settings


def _require_signal(volume: Volume, stack: FoundStack) -> None:
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


def _found(run: Path, files: FilesSettings, passed_by: list[str]) -> Iterator[FoundStack]:
    """Yield what a run holds; what cannot be read of a folder goes to ``passed_by``."""
    if run.is_dir():
        formats = make_acquisition_formats(plane_pattern=files.plane_pattern)
        if acquisition_format_for(run, formats) is not None:
            yield from _of_acquisition(FinishedAcquisition(run, formats), files, passed_by)
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
        yield FoundStack(ref.file_stacks, ref.index, ref.label, partial(read_stack, ref))


def _of_acquisition(
    run: FinishedAcquisition, files: FilesSettings, passed_by: list[str]
) -> Iterator[FoundStack]:
    for index in run.stacks():
        try:
            job = run.job(index, files)
        except StackError as error:
            passed_by.append(str(error))
            continue
        yield FoundStack(job.file_stacks, index, index.label, partial(_volume_of, job, index.label))


def _volume_of(job: StackJob, label: str, ranks: tuple[float, float]) -> Volume:
    volume = next(each.volume for each in job.read() if each is not None)
    require_usable(volume, label, job.file_stacks.path, ranks)
    return volume


def _spread(found: Sequence[FoundStack]) -> list[FoundStack]:
    """Return at most 12 of them, evenly spread from the first to the last."""
    places = np.linspace(0, len(found) - 1, min(len(found), MOST_STACKS)).round().astype(int)
    return [found[place] for place in np.unique(places).tolist()]


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
