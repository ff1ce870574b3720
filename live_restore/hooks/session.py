"""Restores what a script acquires, while it acquires, in a process of its own.

::

    from pycromanager import Acquisition, multi_d_acquisition_events
    from live_restore import LiveRestore

    with LiveRestore("config.toml") as live, Acquisition(
        directory="D:/data", name="run", image_saved_fn=live.image_saved_fn
    ) as acquisition:
        acquisition.acquire(live.expect(multi_d_acquisition_events(...)))

Three rules hold everything here together. What the acquisition calls notes something and returns:
no lock that is held for long, no disk, no exception. What talks to disks and processes is a thread
of its own, which nobody waits for longer than a moment. What restores is another process.
"""

from __future__ import annotations

import inspect
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from live_restore.errors import UsageError, one_line

if TYPE_CHECKING:
    from live_restore.formats.script_plan import PlannedAxes
    from live_restore.hooks.child import Outcome, Restorations
    from live_restore.hooks.mda import MdaFollower
    from live_restore.stack import StackIndex

Events = TypeVar("Events")

_LOOK_S = 0.2
# Of the plan, at every look: 400 stacks. Measured: 3 ms in which the acquisition's threads may have
# to wait for the interpreter.
_LINES_AT_ONCE = 2
# A thread that does not answer within this time hangs on a disk or a network: it is left behind.
_THREAD_S = 5.0


class LiveRestore:
    """A session of live restoration inside an acquisition script.

    Parameters
    ----------
    config
        A config.toml; ``None``: the default settings.
    finish_s
        How long to go on restoring at the end of the block (s); ``None``: until all is done, 0: not
        at all. What is left then is named with the command that restores it.

    Raises
    ------
    SettingsError, ModelError
        The config.toml cannot be read, holds a mistake or names a model that is not there: said
        before anything is acquired.

    Attributes
    ----------
    outcomes
        What became of each run, once the block has ended.
    """

    def __init__(self, config: str | Path | None = None, *, finish_s: float | None = 600.0) -> None:
        from live_restore.inference.load import find_model
        from live_restore.settings.load import load_settings

        self._config = None if config is None else Path(config).absolute()
        # To complain now rather than in a child, hours later.
        for rule in load_settings(self._config).models:
            if not rule.skip:
                find_model(rule.model)
        self._finish_s = finish_s
        self._thread: threading.Thread | None = None
        self._restorations: Restorations | None = None
        self.outcomes: list[Outcome] = []
        self._forget()

    def _forget(self) -> None:
        """Begin as if there had been no session before."""
        self._done = threading.Event()
        self._dataset: object = None
        self._tasks: deque[Callable[[], None]] = deque()
        self._followers: list[MdaFollower] = []
        self._plan: PlannedAxes | None = None
        self._planned: Path | None = None
        self._unwritten: dict[StackIndex, tuple[int, ...]] = {}
        self._singles: set[StackIndex] = set()
        self._begun: list[weakref.ref[object]] = []
        self._problem = ""

    # What the acquisition calls -------------------------------------------------------------------

    def image_saved_fn(self, axes: dict[str, Any], dataset: object) -> None:  # noqa: ARG002
        """Take notice that an image was saved: pycromanager's ``image_saved_fn``.

        Returns at once and raises nothing: an exception here would silently end pycromanager's
        callbacks, and block the end of runs of more than 100 images.
        """
        if dataset is not self._dataset:
            self._dataset = dataset
            self._tasks.append(lambda: self._begin_dataset(dataset))

    def beside(self, image_saved_fn: Callable[..., object]) -> Callable[..., None]:
        """Return a callback that calls :attr:`image_saved_fn` and then the given one.

        Parameters
        ----------
        image_saved_fn
            A callback of your own with two parameters (axes, dataset) or three (axes, dataset,
            event_queue). Should it raise, its traceback is printed, once, and the acquisition goes
            on with its further images.

        Raises
        ------
        UsageError
            It takes other parameters: said now, as pycromanager does.
        """
        signature = inspect.signature(image_saved_fn)
        with_queue = len(signature.parameters) == 3
        try:
            signature.bind(*range(3 if with_queue else 2))
        except TypeError:
            raise UsageError(
                "cannot be called with an image's axes and its data set",
                getattr(image_saved_fn, "__name__", repr(image_saved_fn)),
                "give it two parameters (axes, dataset), or three (axes, dataset, event_queue)",
            ) from None
        told = False

        def call(axes: dict[str, Any], dataset: object, *queue: object) -> None:
            nonlocal told
            self.image_saved_fn(axes, dataset)
            try:
                image_saved_fn(axes, dataset, *queue)
            # Also what ends a program: here it would end all callbacks, and block the run's end.
            except BaseException:  # noqa: BLE001
                if not told:
                    told = True
                    _print_to_stderr(traceback.format_exc().rstrip())

        if with_queue:
            return lambda axes, dataset, event_queue: call(axes, dataset, event_queue)
        return lambda axes, dataset: call(axes, dataset)

    def expect(self, events: Events) -> Events:
        """Pass events on unchanged, noting which planes they will bring.

        Parameters
        ----------
        events
            What ``Acquisition.acquire`` takes: an event, a list, or a generator (passed on one by
            one, as it is asked for). A list, or an exhausted generator, holds its stacks whole;
            planes that are submitted event by event count as a whole stack when the block ends.

        Notes
        -----
        Without it a stack is known to be whole only when the next one begins, and the only stack of
        a run never. Leave it away where a hook removes whole channels or positions from the events.
        """
        if self._thread is None:
            self._say(
                "nothing is restored: the acquisition is not inside a block `with LiveRestore()`"
            )
        if isinstance(events, dict):
            stack_index = self._note(events, loose=True)
            if stack_index is not None:
                self._singles.add(stack_index)
        elif isinstance(events, list):
            for event in events:
                self._note(event, loose=False)
        else:
            return self._passing(events)  # type: ignore[return-value]
        return events

    def _passing(self, events: Any) -> Iterator[Any]:
        noted: set[StackIndex | None] = set()
        for event in events:
            for each in event if isinstance(event, list) else (event,):
                noted.add(self._note(each, loose=True))
            yield event
        # Not where the run was stopped: its last stack was named in part.
        if self._plan is not None:
            self._plan.settle(stack_index for stack_index in noted if stack_index is not None)

    def _note(self, event: Any, *, loose: bool) -> StackIndex | None:
        """Note the axes of one event; an event that cannot be understood ends the noting."""
        try:
            if self._plan is not None:
                return self._plan.add(event["axes"], loose=loose)
        except Exception as error:  # noqa: BLE001 - whatever a script submits is its own affair
            self._plan = None
            self._say(f"the planned planes are not known ({one_line(error)}); going by the files")
        return None

    # pymmcore-plus --------------------------------------------------------------------------------

    def follow(
        self, mmc: Any, output: str | Path | None = None, *, unsaved: str | Path | None = None
    ) -> None:
        """Restore every run that ``mmc.mda`` makes from now until the block ends.

        Parameters
        ----------
        mmc
            A ``CMMCorePlus``.
        output
            What ``run_mda`` is given as ``output``: ``run.ome.zarr`` is followed stack by stack,
            ``run.ome.tiff`` is restored when the run is over (its writer completes it only then).
        unsaved
            Where planes of runs without ``output`` are kept; default: the user's data folder. Each
            run gets a folder of its own, with one OME-TIFF per stack and the results.

        Raises
        ------
        UsageError
            ``output`` is neither, or this is not inside the block.
        """
        from live_restore.hooks.mda import MdaFollower

        if self._thread is None:
            raise UsageError(
                "has not begun", "LiveRestore", "follow inside of `with LiveRestore()`"
            )
        stack_index = None if output is None else Path(output).absolute()
        folder = None if unsaved is None else Path(unsaved).absolute()
        follower = MdaFollower(mmc.mda, stack_index, folder, self._tasks.append, self._say)
        follower.connect(self._begin, self._end)
        self._followers.append(follower)

    # The thread -----------------------------------------------------------------------------------

    def _run(self, done: threading.Event) -> None:
        assert self._restorations is not None
        while True:
            last = done.is_set()
            while self._tasks:
                self._attempt(self._tasks.popleft())
            if last:
                return
            # Apart: a plan that cannot be written is no reason not to restore.
            self._attempt(partial(self._write_plan, _LINES_AT_ONCE))
            self._attempt(self._restorations.step)
            done.wait(_LOOK_S)

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - this thread's boundary; said at the end
            self._problem = one_line(error)

    def _begin_dataset(self, dataset: object) -> None:
        from live_restore.formats.script_plan import remove_plan

        # Of two runs at once the images come in turns.
        if any(known() is dataset for known in self._begun):
            return
        self._begun = [known for known in self._begun if known() is not None]
        with suppress(TypeError):  # nothing that could be remembered: no data set of pycromanager's
            self._begun.append(weakref.ref(dataset))
        path = getattr(dataset, "path", None)
        if not path:
            self._problem = "the run is not saved: give Acquisition a directory"
            return
        folder = Path(path).absolute()
        if self._planned is not None:  # whose events were whose cannot be told any more
            self._plan = None
            remove_plan(self._planned)
        self._begin(folder)
        self._planned = folder
        remove_plan(folder)  # of a run that had this name before

    def _begin(self, path: Path) -> None:
        assert self._restorations is not None
        self._restorations.begin(path)

    def _end(self, path: Path) -> None:
        assert self._restorations is not None
        self._restorations.end(path)

    def _write_plan(self, most_lines: int | None = None) -> None:
        """Write down what is new in the plan of the run."""
        from live_restore.formats.script_plan import extend_plan

        while self._plan is not None and self._planned is not None and most_lines != 0:
            # Kept until it is written: the disk may refuse, and be asked again.
            self._unwritten = self._unwritten or self._plan.take()
            if not self._unwritten:
                return
            extend_plan(self._planned, self._unwritten)
            self._unwritten = {}
            most_lines = None if most_lines is None else most_lines - 1

    def _say(self, what: str) -> None:
        _print_to_stderr(f"live-restore: {what}")

    # The block ------------------------------------------------------------------------------------

    def __enter__(self) -> LiveRestore:
        from live_restore.formats.script_plan import PlannedAxes
        from live_restore.hooks.child import Restorations, fresh_log

        if self._thread is not None:
            raise UsageError(
                "is in use", "LiveRestore", "make another one for a block inside of it"
            )
        options = [] if self._config is None else ["--config", str(self._config)]
        self._forget()
        self._plan = PlannedAxes()
        self._restorations = Restorations(options, fresh_log())
        self._thread = threading.Thread(
            target=self._run, args=(self._done,), name="live-restore", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish; whatever goes wrong in it is said and stays here.

        After Ctrl-C nothing more is begun. After another error in the block what is complete is
        restored, as after a run that was stopped.
        """
        thread, self._thread = self._thread, None
        assert thread is not None
        for follower in self._followers:
            if follower.running and kind is None:
                self._say(
                    "a run of pymmcore-plus still goes on, and is not followed any more: `.join()` "
                    "it before the block ends; restore what it saves with: live-restore watch"
                )
            follower.disconnect()
        if self._plan is not None and kind is None:
            self._plan.settle(self._singles)
        self._done.set()
        thread.join(_THREAD_S)
        if thread.is_alive():
            self._say("a disk or network does not answer; restore later with: live-restore watch")
            return
        try:
            interrupted = kind is not None and not issubclass(kind, Exception)
            self._finish(0.0 if interrupted else self._finish_s)
        except Exception as problem:  # noqa: BLE001 - the acquisition is complete, and stays so
            self._say(f"{one_line(problem)}; restore later with: live-restore watch")

    def _finish(self, limit_s: float | None) -> None:
        from live_restore.hooks.progress import finish_with_progress

        assert self._restorations is not None
        self._attempt(self._write_plan)
        if self._problem:
            self._say(self._problem)
        try:
            finish_with_progress(self._restorations, limit_s, self._say)
        finally:
            self.outcomes = self._restorations.outcomes()


def _print_to_stderr(text: str) -> None:
    """Print, unless there is nobody to print to: that is no reason to fail an acquisition."""
    with suppress(OSError, ValueError):  # a terminal that is gone, a stream that is closed
        print(text, file=sys.stderr, flush=True)
