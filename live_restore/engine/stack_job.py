"""One stack of a data set folder on its way through the restorer."""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from live_restore.engine.file_job import Home, RawStack, ResultPlan, require_a_model
from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackError,
    StackIncompleteError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.files.naming import results_of_acquisition, template_in
from live_restore.formats.acquisition_format import (
    AcquisitionFormat,
    AcquisitionInfo,
    AcquisitionState,
)
from live_restore.formats.following import Following
from live_restore.formats.table import acquisition_format_for
from live_restore.inference.model_set import ModelSet
from live_restore.journal.entry import State
from live_restore.outputs.ome_zarr import choose_in_ome_zarr, publish_in_ome_zarr
from live_restore.outputs.report import StackOutcome
from live_restore.outputs.result import (
    Published,
    choose_result,
    is_current,
    publish_result,
    published_doubt,
    restored_pixels,
)
from live_restore.settings.model import FilesSettings, Settings
from live_restore.sources.stack_completeness import judge
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume

# Data sets whose followers are kept: those that are recorded and restored at the same time.
_FOLLOWED_AT_ONCE = 8


class StackJob:
    """One stack of a data set, ready to be read.

    Parameters
    ----------
    following
        Its data set.
    state
        As last polled; the stack has begun.
    stack_index
        Which stack.
    fingerprint
        Its planes' bytes, and when it was written.
    results
        The folder for the results of its data set.
    """

    def __init__(
        self,
        following: Following,
        state: AcquisitionState,
        stack_index: StackIndex,
        fingerprint: Fingerprint,
        results: Path,
    ) -> None:
        self._following = following
        self._stack_index = stack_index
        self._results = results
        self._evidence = state.stacks[stack_index]
        self._info = state.info
        planned, present = self._evidence.planes_expected, len(self._evidence.present)
        self._warnings: tuple[str, ...] = ()
        if planned is not None and present < planned:
            self._warnings = (f"partial: {present} of {planned} planes were recorded",)
        self._file_stacks = _described(
            following.folder, state.info, stack_index, present, fingerprint
        )
        self._home = Home.of(following.folder.parent)
        self._volume: Volume | None = None
        self._checksum = 0

    @property
    def file_stacks(self) -> FileStacks:
        """The stack, described as a file of its own."""
        return self._file_stacks

    def plan(self, model_set: ModelSet, settings: Settings) -> ResultPlan:
        """Say where the result goes; see ``Job``."""
        model_name = require_a_model(self._file_stacks, model_set)
        if settings.output.acquisitions == "ome-zarr":
            result_path = choose_in_ome_zarr(
                self._file_stacks, self._stack_index, self._results, model_name, model_set.recipe
            )
        else:
            template = template_in(self._results)
            result_path = choose_result(
                self._file_stacks.path, template, model_name, model_set.recipe
            )
        current = is_current(result_path, self._file_stacks)
        if result_path.taken and not current:
            # Without its journal a stack has no time stamp; its pixels are proof.
            known = restored_pixels(result_path.report)
            current = known is not None and known == zlib.crc32(self._read().data)
        return ResultPlan(
            model_name, result_path, current, published_doubt(result_path) if current else ""
        )

    def read(self) -> Iterator[RawStack]:
        """Yield the stack; see ``Job``."""
        began = time.perf_counter()
        volume = self._read()
        self._volume = None
        self._checksum = zlib.crc32(volume.data)
        yield RawStack(self._file_stacks.indices()[0], volume, time.perf_counter() - began)

    def _read(self) -> Volume:
        if self._volume is None:
            try:
                volume = self._following.read(self._stack_index)
            except StackIncompleteError as error:
                # What the evidence could not see; nothing will change it.
                raise StackUnreadableError(
                    error.what, self._file_stacks.path, error.remedy
                ) from error
            self._volume = np.ascontiguousarray(volume)
        return self._volume

    def publish(
        self,
        plan: ResultPlan,
        outcomes: Iterable[StackOutcome],
        model_set: ModelSet,
        settings: Settings,
    ) -> Published:
        """Write and publish the outcome; see ``Job``."""
        if not self._following.folder.is_dir():
            self._home.require()  # else its folder would be made anew
        if settings.output.acquisitions == "ome-zarr":
            return publish_in_ome_zarr(
                self._file_stacks,
                self._stack_index,
                self._info,
                outcomes,
                result_path=plan.result_path,
                recipe=model_set.recipe,
                settings_digest=settings.pixel_digest(),
                units=settings.output.units,
                verify=self._check_unchanged,
            )
        return publish_result(
            self._file_stacks,
            outcomes,
            result_path=plan.result_path,
            recipe=model_set.recipe,
            settings_digest=settings.pixel_digest(),
            units=settings.output.units,
            verify=self._check_unchanged,
        )

    def _check_unchanged(self) -> tuple[str, ...]:
        """Return warnings for the report; raises ``StackChangedError``.

        Planes are written once, and a stack that gained one is found anew by whoever follows the
        data set. Only a chunk of several planes can change unseen: it is read again.
        """
        try:
            if (
                self._evidence.may_change
                and zlib.crc32(np.ascontiguousarray(self._following.read(self._stack_index)).data)
                != self._checksum
            ):
                raise StackChangedError(
                    "changed while it was being restored",
                    self._file_stacks.path,
                    "let it be written to its end first",
                )
        except StackBusyError:
            raise
        except StackError as error:
            raise StackChangedError(error.what, self._file_stacks.path, error.remedy) from error
        if not self._following.folder.is_dir():
            self._home.require()
            return (*self._warnings, "the data set was moved or deleted after it had been read")
        return self._warnings


def _described(
    folder: Path,
    info: AcquisitionInfo,
    stack_index: StackIndex,
    planes: int,
    fingerprint: Fingerprint,
) -> FileStacks:
    """Describe one stack as a file of its own, and where it comes from."""
    if info.dtype is None or info.shape_yx is None:
        raise StackIncompleteError("holds no planes", folder, "record it again")
    channel, position = (
        info.channel_name(stack_index.channel),
        info.position_name(stack_index.position),
    )
    return FileStacks(
        path=folder / stack_index.label,
        fingerprint=fingerprint,
        positions=1,
        times=1,
        channels=1,
        shape_zyx=(planes, *info.shape_yx),
        dtype=info.dtype,
        voxel=info.voxel,
        channel_names=(channel,),
        position_names=(f"{position} t{stack_index.time}",),
        time_increment_s=info.time_increment_s,
        notes=(
            f"from {info.format} acquisition {folder.name}: "
            f"position {stack_index.position} ({position}), "
            f"time {stack_index.time}, channel {stack_index.channel} ({channel})",
        ),
        first_channel=stack_index.channel,
    )


class StackJobs:
    """Opens stacks that a source has found; keeps followers of its own, so that neither waits.

    Parameters
    ----------
    formats
        Formats of data sets.
    """

    def __init__(self, formats: Sequence[AcquisitionFormat]) -> None:
        self._formats = formats
        self._followed: OrderedDict[Path, Following] = OrderedDict()

    def open(self, folder: Path, stack_index: StackIndex, fingerprint: Fingerprint) -> StackJob:
        """Look at the stack that was found with this fingerprint.

        Raises
        ------
        StackBusyError
            It does not look complete from here (yet), or cannot be looked at.
        StackChangedError
            It is not the one that was found.
        """
        following = self._following(folder)
        try:
            state = following.poll()
        except StackChangedError:
            del self._followed[folder]
            following = self._following(folder)  # what was found may be another under its name
            state = following.poll()
        evidence = state.stacks.get(stack_index)
        size = 0
        if evidence is not None and state.info.dtype is not None and state.info.shape_yx:
            height, width = state.info.shape_yx
            size = len(evidence.present) * height * width * state.info.dtype.itemsize
        if size < fingerprint.size:
            raise StackBusyError(
                "cannot be seen whole any more", folder / stack_index.label, "check the disk"
            )
        if size > fingerprint.size:
            raise StackChangedError("has got further planes", folder / stack_index.label)
        return StackJob(following, state, stack_index, fingerprint, results_of_acquisition(folder))

    def _following(self, folder: Path) -> Following:
        following = self._followed.pop(folder, None)
        if following is None:
            chosen = acquisition_format_for(folder, self._formats)
            if chosen is None:  # deleted, or on a share that went away: its source will know
                raise StackBusyError(
                    "is not there as a data set just now", folder, "check the disk or the network"
                )
            following = Following(folder, chosen)
        self._followed[folder] = following
        if len(self._followed) > _FOLLOWED_AT_ONCE:
            self._followed.popitem(last=False)
        return following


class FinishedAcquisition:
    """A data set folder whose run is over.

    Parameters
    ----------
    folder
        The folder (absolute).
    formats
        Formats of data sets.

    Raises
    ------
    StackRefusedError
        No format knows the folder.
    StackUnreadableError
        It is known, but damaged.
    """

    def __init__(self, folder: Path, formats: Sequence[AcquisitionFormat]) -> None:
        chosen = acquisition_format_for(folder, formats)
        if chosen is None:
            raise StackRefusedError(
                "is a folder, and no dataset that live-restore knows", folder,
                "for all files in it use: live-restore watch FOLDER --once",
            )  # fmt: skip
        self._following = Following(folder, chosen)
        self._state = self._following.poll(over=True)
        if not self._state.stacks:
            problem = "; ".join(self._state.problems) or "holds no planes"
            raise StackUnreadableError(problem, folder, "check the acquisition")
        times_ns = (f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file())
        self._written_ns = max(times_ns, default=0)

    def stacks(self) -> list[StackIndex]:
        """Return the stacks that have begun, position slowest, then time, then channel."""
        return sorted(self._state.stacks)

    def job(
        self, stack_index: StackIndex, files: FilesSettings, output: Path | None = None
    ) -> StackJob:
        """Return the job of one stack.

        Parameters
        ----------
        stack_index
            Which stack.
        files
            Says what becomes of partial stacks.
        output
            Where the folder of results goes, if not beside the data set.

        Raises
        ------
        StackRefusedError
            It is a single plane.
        StackIncompleteError
            Planes are missing.
        """
        folder = self._following.folder
        evidence = self._state.stacks[stack_index]
        state, reason = judge(
            evidence, taken_as_over=True, final=True, calm=True, partial=files.partial_stacks
        )
        if state is State.REFUSED:
            raise StackRefusedError(reason, folder / stack_index.label)
        if state is not State.WAITING:
            raise StackIncompleteError(reason, folder / stack_index.label, "record it again")
        info = self._state.info
        assert info.dtype is not None
        assert info.shape_yx is not None
        size = len(evidence.present) * info.shape_yx[0] * info.shape_yx[1] * info.dtype.itemsize
        results = results_of_acquisition(folder)
        if output is not None:
            results = output / results.name
        return StackJob(
            self._following, self._state, stack_index, Fingerprint(size, self._written_ns), results
        )
