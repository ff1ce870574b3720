"""``live-restore restore``: from names to results, here and now, without a journal."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.file_job import FileJob
from live_restore.engine.finished_acquisition import FinishedAcquisition
from live_restore.engine.job import Job
from live_restore.errors import (
    LiveRestoreError,
    StackError,
    StackIncompleteError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.files.publish import remove_leftovers
from live_restore.formats.table import (
    make_acquisition_formats,
    make_formats,
    warn_of_plug_in,
)
from live_restore.inference.model_set import ModelSet
from live_restore.journal.states import State
from live_restore.settings.model import Settings
from live_restore.stack import StackIndex
from live_restore.trust.over_time import TimeLapses


@dataclass(frozen=True)
class OneResult:
    """The result of one file or stack.

    Parameters
    ----------
    source, image, report
        The raw file or acquisition folder, the restored image and its report.
    warnings
        What makes the result doubtful.
    already_there
        Whether there was nothing to do.
    notes
        What could not be compared; most likely the same for every file.
    """

    source: Path
    image: Path
    report: Path
    warnings: tuple[str, ...] = ()
    already_there: bool = False
    notes: tuple[str, ...] = ()


Attempt = OneResult | LiveRestoreError


class OneShot:
    """Restores the files and acquisition folders that a person names.

    Parameters
    ----------
    model_set, settings
        The warm models, and all settings.
    warn
        Takes a line about each format of another package that is left out.
    """

    def __init__(
        self,
        model_set: ModelSet,
        settings: Settings,
        warn: Callable[[str], None] = warn_of_plug_in,
    ) -> None:
        self._model_set = model_set
        self._settings = settings
        self._warn = warn
        self._formats = make_formats(files=settings.files, warn=warn)
        self._cleaned_folders: set[Path] = set()
        self._time_lapses = TimeLapses()

    def restore_all(self, path: Path, output: Path | None = None) -> Iterator[Attempt]:
        """Restore the file, or every stack of the acquisition folder, at ``path`` (absolute).

        Parameters
        ----------
        path
            What the person named.
        output
            Where an acquisition's folder of results goes, if not beside it.

        Yields
        ------
        OneResult or LiveRestoreError
            What became of the file, or of one stack after the other.
        """
        try:
            if not _is_folder(path):
                yield from self._restore_file(path)
                return
            formats = make_acquisition_formats(
                plane_pattern=self._settings.files.plane_pattern, warn=self._warn
            )
            file_stacks = FinishedAcquisition(path, formats)
        except LiveRestoreError as error:
            yield error
            return
        yield from self._restore_stacks(path, file_stacks, file_stacks.stacks(), output)
        for name, reason in file_stacks.unusable.items():
            yield StackUnreadableError(reason, path / name, "check the acquisition")

    def restore_stacks(self, path: Path, indices: Iterable[StackIndex]) -> Iterator[Attempt]:
        """Restore some stacks of the acquisition folder at ``path`` (absolute).

        Yields
        ------
        OneResult or LiveRestoreError
            What became of each, in order.
        """
        try:
            file_stacks = FinishedAcquisition(path, make_acquisition_formats())
        except LiveRestoreError as error:
            yield error
            return
        yield from self._restore_stacks(path, file_stacks, indices, None)

    def _restore_stacks(
        self,
        path: Path,
        file_stacks: FinishedAcquisition,
        indices: Iterable[StackIndex],
        output: Path | None,
    ) -> Iterator[Attempt]:
        for index in indices:
            try:
                yield self._finish(path, file_stacks.job(index, self._settings.files, output))
            except StackError as error:
                where = path / index.label if error.path is None else error.path
                yield type(error)(error.what, where, error.remedy)
            except LiveRestoreError as error:
                yield error

    def _restore_file(self, path: Path) -> Iterator[Attempt]:
        """Restore a file; yield its result, and an error for each stack that it lacks."""
        job = FileJob.open(path, self._formats, self._settings.files)
        yield self._finish(path, job)
        for index, (state, reason) in job.remainder.left.items():
            kind = StackUnreadableError if state is State.FAILED else StackIncompleteError
            yield kind(f"{index.label}: {reason}", path)

    def restore(self, path: Path) -> OneResult:
        """Restore the file at ``path`` (absolute).

        Raises
        ------
        StackError
            There is nothing there to restore, or not yet.
        InferenceError
            The model failed on it.
        OutputError
            The disk refused.
        """
        if _is_folder(path):
            raise StackRefusedError(
                "is a folder",
                path,
                "restore all that is in it with: live-restore watch FOLDER --once",
            )
        return self._finish(path, FileJob.open(path, self._formats, self._settings.files))

    def _finish(self, path: Path, job: Job) -> OneResult:
        plan = job.plan(self._model_set, self._settings)
        image = plan.result_path.image
        if plan.current:
            doubts = (plan.doubt,) if plan.doubt else ()
            return OneResult(path, image, plan.result_path.report, doubts, already_there=True)
        if isinstance(job, FileJob) and not job.certain:
            time.sleep(self._settings.watch.settle_s)
            job.check_unchanged()
        if image.parent not in self._cleaned_folders:
            self._cleaned_folders.add(image.parent)
            remove_leftovers(image.parent)
        groups = ChannelGroups(job.file_stacks, self._model_set, time_lapses=self._time_lapses)
        with job.begin(plan, self._model_set, self._settings) as publication:
            for raw in job.read():
                for stack in groups.feed(raw) if raw is not None else ():
                    publication.take(stack)
            published = publication.close()
        notes = (plan.note, *published.notes) if plan.note else published.notes
        return OneResult(path, published.image, published.report, published.warnings, notes=notes)


def absolute(named: Path) -> Path:
    """Return the file that a name leads to.

    Raises
    ------
    StackUnreadableError
        A link that leads to itself.
    """
    try:
        return named.resolve()
    except (OSError, RuntimeError) as error:
        raise StackUnreadableError(
            "is a link that leads to no file", named, "check where it points"
        ) from error


def _is_folder(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StackUnreadableError("does not exist", path, "check the name") from error
    except OSError as error:
        raise StackUnreadableError(
            f"cannot be looked at ({error.strerror or error})", path, "check the name and the disk"
        ) from error
    return stat.S_ISDIR(mode)
