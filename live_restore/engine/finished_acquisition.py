"""An acquisition folder whose run is over, restored in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from live_restore.engine.raw_folder import RawFolder
from live_restore.engine.stack_job import StackJob
from live_restore.errors import StackIncompleteError, StackRefusedError, StackUnreadableError
from live_restore.files.naming import results_of_acquisition
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.following import Following
from live_restore.formats.table import acquisition_format_for
from live_restore.journal.states import State
from live_restore.settings.model import FilesSettings
from live_restore.sources.completeness import decide_stack
from live_restore.sources.watched_acquisition import times_written_ns
from live_restore.stack import Fingerprint, StackIndex


class FinishedAcquisition:
    """An acquisition folder whose run is over.

    Parameters
    ----------
    folder
        The folder (absolute).
    formats
        Formats of acquisitions.

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
                "is a folder, and no acquisition that live-restore knows", folder,
                "for all files in it use: live-restore watch FOLDER --once",
            )  # fmt: skip
        self._following = Following(folder, chosen)
        self._state = self._following.poll(over=True)
        if not self._state.stacks:
            problem = "; ".join(self._state.all_that_is_wrong()) or "holds no planes"
            raise StackUnreadableError(problem, folder, "check the acquisition")
        self._written_ns = max(times_written_ns(folder), default=0)

    @property
    def unusable(self) -> Mapping[str, str]:
        """Parts of it that could hold stacks and cannot be read, and why."""
        return self._state.unusable

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
            Where the folder of results goes, if not beside the acquisition.

        Raises
        ------
        StackRefusedError
            It is a single plane.
        StackIncompleteError
            Planes are missing.
        StackUnreadableError
            There is no such stack.
        """
        folder = self._following.folder
        evidence = self._state.stacks.get(stack_index)
        if evidence is None:
            raise StackUnreadableError("is not there", folder / stack_index.label)
        state, reason = decide_stack(
            evidence, taken_as_over=True, final=True, calm=True, partial=files.partial_stacks
        )
        if state is State.REFUSED:
            raise StackRefusedError(reason, folder / stack_index.label)
        if state is not State.WAITING:
            raise StackIncompleteError(reason, folder / stack_index.label, "record it again")
        plane_bytes = self._state.info.plane_bytes
        assert plane_bytes is not None
        results = results_of_acquisition(folder)
        if output is not None:
            results = output / results.name
        return StackJob(
            self._following,
            self._state,
            stack_index,
            Fingerprint.in_range(len(evidence.present) * plane_bytes, self._written_ns),
            results,
            RawFolder.of(folder),
        )
