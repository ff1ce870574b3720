"""One stack of an acquisition folder on its way through the restorer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from live_restore.engine.job import RawStack, Remainder, ResultPlan, planned, require_a_model
from live_restore.engine.raw_folder import RawFolder, identity_of, is_there
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
    Stage,
)
from live_restore.formats.following import Following, Followings
from live_restore.inference.model_set import ModelSet
from live_restore.outputs.output import (
    AcquisitionStack,
    Publication,
    ResultRequest,
)
from live_restore.outputs.provenance import (
    begun_by_another,
    has_error_bars,
    is_current,
    restored_pixels,
)
from live_restore.outputs.table import output_of_acquisitions
from live_restore.recording import ChannelMetadata, ImageMetadata, PlaneMetadata
from live_restore.settings.model import Settings
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume, checksum_of

# Acquisitions whose followers are kept: those that are recorded and restored at the same time.
_FOLLOWED_AT_ONCE = 8


class StackJob:
    """One stack of an acquisition, ready to be read.

    Parameters
    ----------
    following
        Its acquisition.
    state
        As last polled; the stack has begun.
    stack_index
        Which stack.
    fingerprint
        Its planes' bytes, and when it was written.
    results
        The folder for the results of its acquisition.
    raw_folder
        Where the acquisition lay before anything of it was looked at.
    """

    def __init__(
        self,
        following: Following,
        state: AcquisitionState,
        stack_index: StackIndex,
        fingerprint: Fingerprint,
        results: Path,
        raw_folder: RawFolder,
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
        recorded = following.recorded(stack_index)
        if len(recorded) == present:
            metadata = replace(self._file_stacks.metadata, planes={StackIndex(): recorded})
            self._file_stacks = replace(self._file_stacks, metadata=metadata)
        self._raw_folder = raw_folder
        self._begun_with = ""
        self._volume: Volume | None = None
        self._checksum = 0

    @property
    def file_stacks(self) -> FileStacks:
        """The stack, described as a file of its own."""
        return self._file_stacks

    @property
    def result_bytes(self) -> int:
        """What is to be written; see ``Job``."""
        return self._file_stacks.voxel_bytes

    @property
    def remainder(self) -> Remainder:
        """Nothing: it is one stack."""
        return Remainder()

    def plan(self, model_set: ModelSet, settings: Settings) -> ResultPlan:
        """Choose where the result goes; see ``Job``."""
        model_name = require_a_model(self._file_stacks, model_set)
        self._begun_with = begun_by_another(self._results, model_set.recipe)
        request = self._request(model_name, model_set, settings)
        output = output_of_acquisitions(settings.output)
        earlier = output.earlier(request, self._is_of_its_pixels)
        if earlier is not None:
            return planned(model_name, earlier, current=True, renamed=True)
        result_path = output.choose(request)
        current = is_current(result_path, self._file_stacks) or (
            # Without its journal a stack has no time stamp; its pixels are proof.
            result_path.taken and self._is_of_its_pixels(result_path.report)
        )
        note = ""
        if self._begun_with:
            run = self._following.folder.name
            note = (
                f'{run}: begun with the model "{self._begun_with}" or other settings; '
                f'what "{model_name}" restores of it now has names of its own'
            )
        return planned(model_name, result_path, current=current, note=note)

    def _is_of_its_pixels(self, report: Path) -> bool:
        known = restored_pixels(report)
        same = known is not None and known == checksum_of(self._read())
        return same and has_error_bars(report)

    def read(self) -> Iterator[RawStack]:
        """Yield the stack; see ``Job``."""
        began = time.perf_counter()
        volume = self._read()
        self._volume = None
        if self._evidence.may_change:
            self._checksum = checksum_of(volume)
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
            except StackError:
                if not is_there(self._following.folder):
                    self._require_its_place()
                raise
            self._volume = np.ascontiguousarray(volume)
        return self._volume

    def begin(self, plan: ResultPlan, model_set: ModelSet, settings: Settings) -> Publication:
        """Begin to publish the result; see ``Job``."""
        if not is_there(self._following.folder):
            self._require_its_place()  # else its folder would be made anew
        request = self._request(plan.model_name, model_set, settings)
        return output_of_acquisitions(settings.output).begin(
            request, plan.result_path, self._check_unchanged
        )

    def _require_its_place(self) -> None:
        self._raw_folder.require()
        self._raw_folder.require_not_renamed(self._following.folder, lambda _: True)

    def _request(self, model_name: str, model_set: ModelSet, settings: Settings) -> ResultRequest:
        return ResultRequest(
            self._file_stacks,
            template_in(self._results),
            model_name,
            model_set.recipe,
            settings.pixel_digest(),
            settings.output.units,
            AcquisitionStack(self._info, self._stack_index),
            apart=bool(self._begun_with),
            settings=settings.pixel_settings(),
            error_bars=settings.output.error_bars,
        )

    def _check_unchanged(self) -> tuple[str, ...]:
        """Return warnings for the report; raises ``StackChangedError``.

        Planes are written once, and a stack that gained one is found anew by whoever follows the
        acquisition. Only a chunk of several planes can change unseen: it is read again.
        """
        there = is_there(self._following.folder)
        if not there:
            self._require_its_place()
        try:
            if (
                self._evidence.may_change
                and checksum_of(self._following.read(self._stack_index)) != self._checksum
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
        if not there:
            return (*self._warnings, "the acquisition was moved or deleted after it had been read")
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
    channels = info.exposure_ms
    exposure_ms = channels[stack_index.channel] if stack_index.channel < len(channels) else None
    recorded = PlaneMetadata(exposure_s=exposure_ms and exposure_ms / 1000)
    serials = info.camera_serials[stack_index.channel : stack_index.channel + 1]
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
        metadata=ImageMetadata(
            channels=tuple(ChannelMetadata(camera_serial=each) for each in serials if each),
            planes={StackIndex(): (recorded,) * planes} if recorded.known else {},
        ),
    )


class StackJobs:
    """Opens stacks that a source has found; keeps followers of its own, so that neither waits.

    Parameters
    ----------
    formats
        Formats of acquisitions.
    known
        Returns the name of the format that a folder was found to have before, "" for none.
    root
        The watched folder, ``None`` where none is.
    """

    def __init__(
        self,
        formats: Sequence[AcquisitionFormat],
        known: Callable[[Path], str] = lambda _: "",
        root: Path | None = None,
    ) -> None:
        self._root = root
        self._followings = Followings(formats, _FOLLOWED_AT_ONCE, known)

    def open(self, folder: Path, stack_index: StackIndex, fingerprint: Fingerprint) -> StackJob:
        """Look at the stack that was found with this fingerprint.

        Raises
        ------
        StackBusyError
            It does not look complete from here (yet), or cannot be looked at.
        StackChangedError
            It is not the one that was found.
        StackRefusedError
            It cannot be one stack.
        """
        # First of all: what is renamed while it is looked at is known by this.
        raw_folder = RawFolder.of(folder, self._root)
        try:
            following, state = self._poll(folder)
        except StackError:
            if identity_of(folder) is None:
                raw_folder.require_not_renamed(folder, lambda _: True)
            raise
        evidence = state.stacks.get(stack_index)
        if evidence is not None and evidence.stage is Stage.REFUSED:
            raise StackRefusedError(evidence.reason, folder / stack_index.label)
        planes = 0 if evidence is None else len(evidence.present)
        size = planes * (state.info.plane_bytes or 0)
        if size < fingerprint.size:
            raise StackBusyError(
                "cannot be seen whole any more", folder / stack_index.label, "check the disk"
            )
        if size > fingerprint.size:
            raise StackChangedError("has got further planes", folder / stack_index.label)
        return StackJob(
            following, state, stack_index, fingerprint, results_of_acquisition(folder), raw_folder
        )

    def _poll(self, folder: Path) -> tuple[Following, AcquisitionState]:
        following = self._following(folder)
        try:
            return following, following.poll()
        except StackChangedError:
            self._followings.drop(folder)
            following = self._following(folder)  # what was found may be another under its name
            return following, following.poll()

    def _following(self, folder: Path) -> Following:
        following = self._followings.of(folder)
        if following is None:  # deleted, or on a share that went away: its source will know
            raise StackBusyError(
                "is not there as an acquisition just now", folder, "check the disk or the network"
            )
        return following
