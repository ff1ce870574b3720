"""A worker's desk: reads, restores and publishes stacks of an archive by itself.

It holds the result's lease meanwhile, as two daemons on one share do: a client that lost its
scheduler may have the same stack done by another worker, and only one of them publishes. The
device is asked for a known answer after every stack and before its result is published, so that a
device that has gone wrong leaves none.
"""

from __future__ import annotations

import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from distributed import WorkerPlugin, get_worker

from live_restore._version import __version__
from live_restore.archive.shared_paths import SharedPaths
from live_restore.archive.task import (
    Archive,
    PublishedThere,
    Task,
    TaskAnswer,
    from_text,
    left_of,
    settings_of,
    to_text,
    version_in,
)
from live_restore.cluster.message import Message
from live_restore.cluster.protocol import proof_of, wrong_numbers
from live_restore.cluster.station import Station, known_answer
from live_restore.cluster.values import DamagedMessageError
from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.job import Job, ResultPlan
from live_restore.engine.jobs import Jobs
from live_restore.engine.progress import Progress
from live_restore.errors import (
    InferenceError,
    LiveRestoreError,
    OutputError,
    StackBusyError,
    UsageError,
)
from live_restore.files.publish import remove_leftovers
from live_restore.files.shared_lease import SharedLease, SharedLeases
from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.inference.model.model import Model
from live_restore.inference.model_set import ModelSet, cameras_of, restorer_with
from live_restore.inference.restorer import Restorer
from live_restore.outputs.output import Published
from live_restore.settings.model import Settings
from live_restore.stack import Fingerprint

NAME = "live-restore-archive"
"""Of the plug-in in the Dask worker."""
_ARCHIVES_KEPT = 4
_A_FOLDER = (0, 0)
"""What is seen of one."""


class _TakenError(Exception):
    """Another process has the result in hand."""


class _SickError(Exception):
    """The device computes wrong numbers."""


@dataclass
class _Opened:
    """An archive as this worker works on it."""

    archive: Archive
    root: Path
    model_set: ModelSet
    jobs: Jobs
    disk_space: DiskSpace
    formats: dict[Path, str]
    cleaned: set[Path] = field(default_factory=set)


class Desk(WorkerPlugin):  # type: ignore[misc]
    """Restores what clients name, from shared storage to shared storage.

    Parameters
    ----------
    station
        Has the warm models.
    settings
        Of this computer: its device, and what shared storage is called here.
    """

    name = NAME

    def __init__(self, station: Station, settings: Settings) -> None:
        self._station = station
        self._settings = settings
        self._paths = SharedPaths(settings.cluster.paths)
        self._leases = SharedLeases(settings.journal.lease_s)
        self._lock = threading.Lock()
        self._opened: OrderedDict[str, _Opened] = OrderedDict()

    def restore(self, archive_text: str, task_text: str) -> str:
        """Return the answer to a task; raises nothing that it can cause."""
        return to_text(self._answer(archive_text, task_text))

    def _answer(self, archive_text: str, task_text: str) -> TaskAnswer:
        try:
            asks = version_in(archive_text)
            if asks != __version__:
                return _unsuited(f"is version {__version__} and was asked by {asks}")
            opened = self._of(archive_text)
            task = from_text(Task, task_text)
            key = task.key
        except DamagedMessageError as error:
            return _unsuited(f"cannot read what it was sent ({error})")
        except (UsageError, ValueError) as error:
            return _unsuited(f"cannot restore as the settings say ({error})")
        if seen_at(opened.root) != _A_FOLDER:
            return _unsuited(
                f"sees no folder {opened.root}; set cluster.paths there to what "
                f"{opened.archive.root} is called on that computer"
            )
        seen = seen_at(opened.root / key.acquisition)
        try:
            return self._restored(opened, task)
        except _TakenError as error:
            return TaskAnswer("taken", what=str(error))
        except _SickError as error:
            return TaskAnswer("sick", what=str(error))
        except InferenceError as error:
            wrong = self._wrong_numbers(opened)
            if wrong:
                return TaskAnswer("sick", what=f"{wrong}; {error.reason}")
            return _error(error, seen)
        except LiveRestoreError as error:
            return _error(error, seen)
        except Exception as error:  # noqa: BLE001 - worker boundary: whoever asked is told
            what = f"the worker failed ({type(error).__name__}: {error})"
            return TaskAnswer("error", error="RuntimeFailureError", what=what, seen=seen)

    def _of(self, text: str) -> _Opened:
        """Return an archive as it is worked on; raises as ``settings_of``, or ``UsageError``."""
        with self._lock:
            opened = self._opened.get(text)
            if opened is None:
                opened = self._opened[text] = self._open(from_text(Archive, text))
                while len(self._opened) > _ARCHIVES_KEPT:
                    self._opened.popitem(last=False)
            self._opened.move_to_end(text)
            return opened

    def _open(self, archive: Archive) -> _Opened:
        settings = settings_of(archive.settings, self._settings, self._paths.here)

        def restorer(names: tuple[str, ...]) -> Restorer:
            name = " + ".join(names)  # who gives out archives has refused several
            digest = archive.digests.get(name, "")
            if digest not in self._station.models:
                raise DamagedMessageError(f"this worker has no model {name} {digest[:12]}")
            model = self._station.model(digest, reduced=settings.inference.reduced)
            return restorer_with(model, settings)

        model_set = ModelSet.of(settings, cameras_of(settings), restorer)
        if model_set.recipe != archive.recipe:
            raise DamagedMessageError("its results would be of another recipe")
        root = self._paths.here(archive.root)
        formats: dict[Path, str] = {}
        jobs = Jobs(
            root,
            make_formats(files=settings.files),
            make_acquisition_formats(plane_pattern=settings.files.plane_pattern),
            model_set,
            settings,
            lambda acquisition: formats.get(acquisition, ""),
        )
        space = DiskSpace(Progress(), settings.output.min_free_gb)
        return _Opened(archive, root, model_set, jobs, space, formats)

    def _restored(self, opened: _Opened, task: Task) -> TaskAnswer:
        entry, jobs = task.entry(), opened.jobs
        if task.format:
            opened.formats[entry.key.acquisition] = task.format
        folder = jobs.results_folder(entry.key)
        opened.disk_space.require(folder)
        job = jobs.open(entry)
        plan = jobs.plan(job)
        if plan.current:
            self._leases.sweep(plan.result_path.image)
            return self._there(opened, job, plan)
        opened.disk_space.require(folder, job.result_bytes)
        image = plan.result_path.image
        try:
            lease = self._leases.take(image)
        except StackBusyError as error:
            raise _TakenError(error.what) from error
        try:
            # Somebody may have made it between the plan and the lease.
            job = jobs.open(entry)
            plan = jobs.plan(job)
            if plan.current:
                return self._there(opened, job, plan)
            if plan.result_path.image != image:
                raise _TakenError("its result gets another name now")
            self._clean(opened, image.parent)
            published = self._published(opened, job, plan, lease)
        except OutputError:
            opened.disk_space.doubt(folder)
            raise
        finally:
            self._leases.end(lease)
        remainder = job.remainder
        return TaskAnswer(
            "restored", self._named(opened, published), left_of(remainder), remainder.growing,
            plan.note,
        )  # fmt: skip

    def _published(
        self, opened: _Opened, job: Job, plan: ResultPlan, lease: SharedLease
    ) -> Published:
        groups = ChannelGroups(job.file_stacks, opened.model_set)
        with opened.jobs.begin(job, plan) as publication:
            for raw in job.read():
                for stack in groups.feed(raw) if raw is not None else ():
                    publication.take(stack)
            wrong = self._wrong_numbers(opened)
            if wrong:
                raise _SickError(wrong)
            try:
                lease.require()
            except StackBusyError as error:
                raise _TakenError(error.what) from error
            return publication.close()

    def _wrong_numbers(self, opened: _Opened) -> str:
        """Return what is wrong with the device, "" where it answers rightly."""
        for model in opened.model_set.models:
            wrong = _wrong_answer(model, opened.archive)
            if wrong:
                return wrong
        return ""

    def _clean(self, opened: _Opened, folder: Path) -> None:
        """Remove what killed processes of this computer left where results go, once."""
        with self._lock:
            if folder in opened.cleaned:
                return
            opened.cleaned.add(folder)
        remove_leftovers(folder)

    def _there(self, opened: _Opened, job: Job, plan: ResultPlan) -> TaskAnswer:
        where = plan.result_path
        found = Published(where.image, where.report, 0.0, {}, (), doubt=plan.doubt)
        result = self._named(opened, found, renamed=plan.renamed)
        return TaskAnswer("there", result, left_of(job.remainder), job.remainder.growing, plan.note)

    def _named(
        self, opened: _Opened, published: Published, *, renamed: bool = False
    ) -> PublishedThere:
        """Return a result under the names that it has where the client runs."""
        paths = published.image, published.report
        try:
            image, report = (_relative(path, opened.root) for path in paths)
            relative = True
        except ValueError:
            image, report = (self._paths.there(path.as_posix()) for path in paths)
            relative = False
        return PublishedThere(
            image, report, relative, published.delay_s, published.seconds, published.warnings,
            published.notes, published.doubt, published.device_warnings, published.stacks,
            published.voxels, published.less_light, renamed,
        )  # fmt: skip


def _relative(path: Path, root: Path) -> str:
    """Return where a result lies from the archive's folder, or from the one above it.

    Raises
    ------
    ValueError
        It lies elsewhere.
    """
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return (Path("..") / path.relative_to(root.parent)).as_posix()


def _wrong_answer(model: Model, archive: Archive) -> str:
    try:
        right = archive.right_answer(model.digest)
        found = proof_of(known_answer(model)).reshape(-1)
    except (InferenceError, DamagedMessageError) as error:
        return f"it cannot answer a known question ({error})"
    return wrong_numbers(found, right, model.session.device)


def seen_at(path: Path) -> tuple[int, int] | None:
    """Return what :attr:`TaskAnswer.seen` is of what this computer sees at ``path``."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # also a share that does not answer, which is_dir() would raise
        return None
    if stat.S_ISDIR(status.st_mode):
        return _A_FOLDER
    size, mtime_ns = Fingerprint.of(status)
    return size, mtime_ns


def _unsuited(what: str) -> TaskAnswer:
    return TaskAnswer("unsuited", what=what)


def _error(error: LiveRestoreError, seen: tuple[int, int] | None) -> TaskAnswer:
    name = type(error).__name__
    return TaskAnswer("error", error=name, what=error.what, remedy=error.remedy, seen=seen)


def restore_task_here(archive: str, task: str) -> Message:
    """Restore a stack of an archive on the worker that runs this; Dask calls it by its name."""
    desk = get_worker().plugins[NAME]
    assert isinstance(desk, Desk)
    return Message(desk.restore(archive, task))
