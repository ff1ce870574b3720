"""The daemon: wires sources, journal and pipeline together, and its life cycle.

::

    starting ──> watching ──(stop asked)──> stopping ──> stopped
                    └──(--once: all that is complete is restored)──┘
"""

from __future__ import annotations

import gc
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog

from live_restore.engine.backoff import Backoff
from live_restore.engine.control import Control, Orders
from live_restore.engine.jobs import Jobs
from live_restore.engine.looker import Looker
from live_restore.engine.microscope_first import MicroscopeFirst
from live_restore.engine.pipeline import Assignment, MakeStages, Pipeline, Stages
from live_restore.engine.progress import Progress
from live_restore.engine.status import Status, StatusBoard
from live_restore.errors import JournalError, LiveRestoreError, UsageError
from live_restore.files.windows import LONG_PATHS_REMEDY, too_long
from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.inference.model_set import ModelSet
from live_restore.journal.journal import Journal
from live_restore.journal.location import journal_path
from live_restore.journal.states import State
from live_restore.journal.wishes import wishes_folder
from live_restore.settings.model import Settings
from live_restore.sources.events import watch_events
from live_restore.sources.folder import FolderSource
from live_restore.sources.source import Callbacks, Source
from live_restore.stack import FOR_BRIGHTNESS, StackKey

log = structlog.get_logger()

# Events come in bursts; one look answers a whole burst.
_BURST_S = 0.02
_LOOK_S = 0.5
_MOST_OPEN = 20_000
_ENDED = (State.FAILED, State.REFUSED)

STOPPING = "stopping: the stack in hand is finished or given back; Ctrl-C again ends at once"


def watched_folder(path: Path, *, remedy: str = "create it first, or check the path") -> Path:
    """Return the absolute folder to watch; raises ``UsageError`` if it is none.

    ``remedy`` is what to do where it does not exist.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        resolved = path.resolve()
    except (FileNotFoundError, NotADirectoryError):
        if length := too_long(path.absolute()):
            raise UsageError(f"cannot be watched: {length}", path, LONG_PATHS_REMEDY) from None
        raise UsageError("does not exist", path, remedy) from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot be watched ({reason})", path, "check the path") from None
    if not is_folder:
        raise UsageError(
            "is a file", path, "give its folder to watch, or use live-restore restore for one file"
        )
    return resolved


class Daemon:
    """Watches one folder.

    Parameters
    ----------
    root
        From :func:`watched_folder`.
    settings
        All settings.
    model_set
        The warm models.
    journal
        Open for writing, made with the recipe of ``model_set``.
    """

    def __init__(
        self, root: Path, settings: Settings, model_set: ModelSet, journal: Journal
    ) -> None:
        self._settings = settings
        self._root = root
        self._model_set = model_set
        self._journal = journal
        self.progress = Progress()
        self._microscope = MicroscopeFirst(settings.process.while_acquiring, model_set.workers)
        self._stop = ""  # why; "": nobody has asked
        self._look_refused = False
        self._control = Control(
            wishes_folder(journal.path),
            journal.facts,
            self.progress,
            Orders(settings.watch.newest_first),
            journal.opened_ns,
        )
        formats = make_formats(files=settings.files, warn=self._on_plug_in)
        acquisition_formats = make_acquisition_formats(
            plane_pattern=settings.files.plane_pattern, warn=self._on_plug_in
        )
        self._board = StatusBoard(root, journal, model_set, settings.files.plane_pattern)
        self._jobs = Jobs(
            root,
            formats,
            acquisition_formats,
            model_set,
            settings,
            journal.acquisition_format,
        )
        self._source: Source = FolderSource(
            root,
            formats,
            acquisition_formats,
            journal,
            settings,
            Callbacks(self._on_bad, self.progress.warn, self._stop_asked, self._microscope.arrived),
        )

    def _on_plug_in(self, problem: str) -> None:
        log.warning(problem)
        self.progress.warn(problem)

    def _on_bad(self, key: StackKey, state: State) -> None:
        count = self.progress.failed if state is State.FAILED else self.progress.refused
        count(key)

    def stop(self, why: str = "stopped by its program") -> None:
        """Ask the daemon to stop, and say why; callable from a signal handler or any thread."""
        # Nothing but this word: a handler must not wait for a lock that its own thread holds. All
        # that takes long looks at it several times per second.
        self._stop = self._stop or why

    def _stop_asked(self) -> bool:
        return bool(self._stop)

    def status(self) -> Status:
        """Return what the display shows."""
        return self._board.read(
            self._source.passed_by,
            paused=self._control.orders.paused,
            waiting=self._microscope.waiting,
        )

    def account(self, *, now: bool = False) -> tuple[str, ...]:
        """Return why something that was seen is not restored, a line for each reason."""
        return self._board.account(self._source.passed_by, now=now)

    def summary(self) -> str:
        """Return one line about a run that has ended: what it did, and what it left as it is.

        What failed and will be tried again (its disk was full, it was in use) waits, and is counted
        there alone.
        """
        done = self.progress.snapshot()
        status = self.status()
        counts = status.counts
        waits: set[StackKey] = set()
        with suppress(JournalError):
            known = self._journal.not_done(_MOST_OPEN)
            waits = {entry.key for entry in known if entry.state not in _ENDED}
        ended = [state for key, state in self.progress.bad().items() if key not in waits]
        doubtful = f"; {status.doubtful} restored but doubtful" if status.doubtful else ""
        if status.doubtful_brightness:
            doubtful += f"; {status.doubtful_brightness} {FOR_BRIGHTNESS} only"
        return (
            f"{done.files_restored} restored, {ended.count(State.FAILED)} failed, "
            f"{ended.count(State.REFUSED)} refused in this run; "
            f"{counts[State.INCOMPLETE]} incomplete, "
            f"{counts[State.ARRIVING]} still arriving, {counts[State.WAITING]} waiting{doubtful}"
        )

    def run(
        self,
        *,
        once: bool = False,
        tick: Callable[[], None] = lambda: None,
        make_stages: MakeStages | None = None,
    ) -> int:
        """Watch until stopped (or, with ``once``, until all that is complete is restored).

        Parameters
        ----------
        once
            Do what there is to do, then return.
        tick
            Called a few times per second, for a display.
        make_stages
            Makes what restores what waits in the journal; ``None``: a :class:`Pipeline`.

        Returns
        -------
        int
            Files that failed in this run.

        Raises
        ------
        LiveRestoreError
            Something that no stage expected ended the pipeline.
        """
        for device in self._model_set.devices:
            if device.warning:
                self.progress.warn(device.warning)
                log.warning(device.warning, device=device.hardware)
        for note in self._model_set.unmeasured:
            self.progress.warn(note)
            log.warning(note)
        for entry in self._journal.recover(self._settings.journal.max_attempts):
            log.error("set aside", stack_key=str(entry.key), reason=entry.reason)
            if self._journal.entry(entry.key) == entry:  # not another recipe's
                self.progress.failed(entry.key)
            self.progress.warn(f"{entry.key}: {entry.reason}")
        with self._recorded(), _all_that_is_there_stays():
            self._restore(once, tick, make_stages or partial(self._pipeline, retry=not once))
        return self.progress.snapshot().files_failed

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Keep in the journal that it watches, and at the end why it does not any more."""
        with self._noted("the beginning of this run is not recorded"):
            self._journal.facts.begin_run(
                newest_first=self._settings.watch.newest_first,
                unmeasured=" ".join(self._model_set.unmeasured),
            )
        why = "stopped by an internal error"
        try:
            yield
            why = self._stop or "all that was complete is restored (--once)"
        except LiveRestoreError as error:
            why = f"stopped by an error: {error}"
            raise
        finally:
            with self._noted("the end of this run is not recorded"):
                self._journal.facts.end_run(why)
            log.info("ended", why=why)

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        """Let what only helps people later stop nothing now."""
        try:
            yield
        except LiveRestoreError as error:
            log.warning(what, reason=error.reason)

    def _pipeline(self, given: Assignment, *, retry: bool) -> Stages:
        return Pipeline(
            given.journal,
            given.jobs,
            self._model_set,
            given.settings,
            given.progress,
            given.reconsider,
            retry=retry,
            stop_asked=given.stop_asked,
            orders=given.orders,
            microscope=self._microscope,
        )

    def _restore(self, once: bool, tick: Callable[[], None], make_stages: MakeStages) -> None:
        pipeline = make_stages(
            Assignment(
                self._journal,
                self._jobs,
                self._settings,
                self.progress,
                self._source.reconsider,
                self._stop_asked,
                self._control.orders,
            )
        )
        looker = Looker(lambda: self._look(once, pipeline.backoff))
        with self._events(once), looker:
            pipeline.start()
            try:
                while not self._stop and pipeline.crash is None:
                    if not once:
                        self._control.poll()
                    next_look_s = looker.look(tick, self._stop_asked)
                    pipeline.notify()
                    tick()
                    if once and not self._source.undecided() and pipeline.idle():
                        break
                    self._source.wait(min(next_look_s, _LOOK_S))
                    time.sleep(_BURST_S)
            finally:
                if self._stop:
                    self.progress.stopping()
                    log.info(STOPPING, why=self._stop)
                pipeline.stop(tick)
                self._jobs.close()
                tick()
        if isinstance(pipeline.crash, LiveRestoreError):
            raise pipeline.crash
        if pipeline.crash is not None:
            raise LiveRestoreError(
                f"stopped by an internal error ({pipeline.crash})",
                None,
                "please report it with the log file; nothing is lost, start it again",
            ) from pipeline.crash

    def _look(self, once: bool, backoff: Backoff) -> float:
        """Poll the source; return when to do so again (s from now)."""
        try:
            with self.progress.waiting_for("looking into the folder"):
                next_look_s = self._source.poll(hurry=once)
        except JournalError as error:
            if once:
                raise
            self._look_refused = True
            wait_s = backoff.refused(error)
            until = time.monotonic() + wait_s
            while time.monotonic() < until and not self._stop:
                time.sleep(min(_LOOK_S, wait_s))
            return 0.0
        if self._look_refused:  # what it could not record then is recorded now
            self._look_refused = False
            backoff.accepted()
        return next_look_s

    @contextmanager
    def _events(self, once: bool) -> Iterator[None]:
        """Let the file system wake the source while the block runs."""
        stop: Callable[[], None] = lambda: None  # noqa: E731
        if self._settings.watch.use_events and not once:
            try:
                stop = watch_events(self._root, self._settings.watch.recursive, self._source.hint)
            except LiveRestoreError as error:
                self.progress.warn(error.reason)
                log.warning(error.reason)
        try:
            yield
        finally:
            stop()


@contextmanager
def _all_that_is_there_stays() -> Iterator[None]:
    """Spare what is there by now, modules and models, from being searched for garbage.

    A search through all of it takes 50 ms, every 40 stacks or so, and all threads wait for it.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def open_daemon_journal(root: Path, settings: Settings, recipe: str) -> Journal:
    """Open the journal of ``root`` for writing; raises ``FolderBusyError``."""
    folder = settings.journal.folder
    journal = Journal(journal_path(root, folder), root, recipe=recipe)
    try:
        journal.reserve_folder(root, folder, recursive=settings.watch.recursive)
    except BaseException:
        journal.close()
        raise
    return journal
