"""From an entry of the journal to the job that does it, and where its result goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from live_restore.engine.file_job import FileJob
from live_restore.engine.job import Job, ResultPlan
from live_restore.engine.raw_folder import name_of_file
from live_restore.engine.stack_job import StackJobs
from live_restore.errors import StackChangedError, StackRenamedError
from live_restore.files.naming import results_folder
from live_restore.files.shared_lease import SharedLeases
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import FileFormat
from live_restore.formats.table import format_for
from live_restore.inference.model_set import ModelSet
from live_restore.journal.entry import Entry
from live_restore.outputs.output import Publication
from live_restore.settings.model import Settings
from live_restore.stack import Fingerprint, StackKey


class Jobs:
    """Opens the jobs of one watched folder.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats, acquisition_formats
        How to read files, and acquisition folders.
    model_set, settings
        What to restore with.
    known_format
        Returns the name of the format that an acquisition (relative to the watched folder) was
        found to have, "" for none.

    Attributes
    ----------
    shared
        Leases of results that other computers could make, too; ``None`` where there are none.
    """

    def __init__(
        self,
        root: Path,
        formats: Sequence[FileFormat],
        acquisition_formats: Sequence[AcquisitionFormat],
        model_set: ModelSet,
        settings: Settings,
        known_format: Callable[[Path], str] = lambda _: "",
    ) -> None:
        self._root = root
        self._formats = formats
        self._stack_jobs = StackJobs(
            acquisition_formats, lambda folder: known_format(folder.relative_to(root)), root
        )
        self._model_set = model_set
        self._settings = settings
        self.shared = SharedLeases(settings.journal.lease_s) if settings.output.shared else None

    def open(self, entry: Entry) -> Job:
        """Look at what was found with the entry's fingerprint.

        Raises
        ------
        StackError
            It is not there (as it was found), or cannot be looked at.
        """
        path = self._root / entry.key.acquisition
        if entry.key.index is not None:
            return self._stack_jobs.open(path, entry.key.index, entry.fingerprint)
        try:
            job = FileJob.open(
                path, self._formats, self._settings.files, growing=entry.growing, root=self._root
            )
        except StackChangedError:
            self._require_not_renamed(path, entry.fingerprint)
            raise
        now, found = job.file_stacks.fingerprint, entry.fingerprint
        if not now.agrees(found) and not (entry.growing and now.size >= found.size):
            raise StackChangedError("changed after it was found complete", path)
        return job

    def _require_not_renamed(self, path: Path, fingerprint: Fingerprint) -> None:
        """Look for a vanished file under another name; raises ``StackRenamedError``."""
        name = None if path.exists() else name_of_file(path.parent, fingerprint)
        if name is not None and format_for(path.with_name(name), self._formats) is not None:
            raise StackRenamedError(f"was renamed to {name}; it is restored under that name", path)

    def close(self) -> None:
        """End what keeps leases alive; call after the last job has ended."""
        if self.shared is not None:
            self.shared.close()

    def plan(self, job: Job) -> ResultPlan:
        """Choose where the result of a job goes; see :meth:`Job.plan`."""
        return job.plan(self._model_set, self._settings)

    def begin(self, job: Job, plan: ResultPlan) -> Publication:
        """Begin to publish the result of a job; see :meth:`Job.begin`."""
        return job.begin(plan, self._model_set, self._settings)

    def results_folder(self, key: StackKey) -> Path:
        """Return the folder that the result of ``key`` goes to."""
        return results_folder(self._root, key, self._settings.output.template)
