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
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from live_restore.errors import UsageError, one_line
from live_restore.hooks import console
from live_restore.hooks.planned import LINES_AT_ONCE, PlannedStacks
from live_restore.hooks.worker import Worker

if TYPE_CHECKING:
    from live_restore.hooks.child import Outcome, Restorations
    from live_restore.hooks.mda import MdaFollower

Events = TypeVar("Events")

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
        The config.toml cannot be read, holds a mistake or names a model that is not there: raised
        before anything is acquired.

    Attributes
    ----------
    outcomes
        What became of each acquisition, once the block has ended.
    """

    def __init__(self, config: str | Path | None = None, *, finish_s: float | None = 600.0) -> None:
        from live_restore.inference.load import find_model
        from live_restore.settings.load import load_settings

        self._config = None if config is None else Path(config).absolute()
        # To complain now rather than in a child, hours later.
        settings = load_settings(self._config)
        self._journals = settings.journal.folder
        for name in settings.model_names:
            find_model(name)
        self._finish_s = finish_s
        self._restorations: Restorations | None = None
        self.outcomes: list[Outcome] = []
        self._forget()

    def _forget(self) -> None:
        """Begin as if there had been no session before."""
        self._worker = Worker()
        self._planned = PlannedStacks(console.say)
        self._dataset: object = None
        self._begun: list[weakref.ref[object]] = []
        self._followers: list[MdaFollower] = []

    # What the acquisition calls -------------------------------------------------------------------

    def image_saved_fn(self, axes: dict[str, Any], dataset: object) -> None:  # noqa: ARG002
        """Take notice that an image was saved: pycromanager's ``image_saved_fn``.

        Returns at once and raises nothing: an exception here would silently end pycromanager's
        callbacks, and block the end of acquisitions of more than 100 images.
        """
        if dataset is not self._dataset:
            self._dataset = dataset
            self._worker.do(lambda: self._begin_dataset(dataset))

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
            It takes other parameters: raised now, as pycromanager does.
        """
        signature = inspect.signature(image_saved_fn)
        with_queue = len(signature.parameters) == 3
        try:
            signature.bind(*range(3 if with_queue else 2))
        except TypeError:
            raise UsageError(
                "cannot be called with an image's axes and its dataset",
                getattr(image_saved_fn, "__name__", repr(image_saved_fn)),
                "give it two parameters (axes, dataset), or three (axes, dataset, event_queue)",
            ) from None
        shown = False

        def call(axes: dict[str, Any], dataset: object, *queue: object) -> None:
            nonlocal shown
            self.image_saved_fn(axes, dataset)
            try:
                image_saved_fn(axes, dataset, *queue)
            # Also what ends a program: here it would end all callbacks, and block the end.
            except BaseException:  # noqa: BLE001
                if not shown:
                    shown = True
                    console.show(traceback.format_exc().rstrip())

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
        an acquisition never. Omit it where a hook removes whole channels or positions from the
        events.
        """
        if not self._worker.running:
            console.say(
                "nothing is restored: the acquisition is not inside a block `with LiveRestore()`"
            )
        return self._planned.expect(events)

    # pymmcore-plus --------------------------------------------------------------------------------

    def follow(
        self, mmc: Any, output: str | Path | None = None, *, unsaved: str | Path | None = None
    ) -> None:
        """Restore every acquisition that ``mmc.mda`` makes from now until the block ends.

        Parameters
        ----------
        mmc
            A ``CMMCorePlus``.
        output
            What ``run_mda`` is given as ``output``: ``run.ome.zarr`` is followed stack by stack,
            ``run.ome.tiff`` is restored when the acquisition is over (its writer completes it only
            then).
        unsaved
            Where planes of acquisitions without ``output`` are kept; default: the user's data
            folder. Each gets a folder of its own, with one OME-TIFF per stack and the results.

        Raises
        ------
        UsageError
            ``output`` is neither, or this is not inside the block.
        """
        from live_restore.hooks.mda import MdaFollower

        if not self._worker.running:
            raise UsageError("has not begun", "LiveRestore", "follow inside `with LiveRestore()`")
        target = None if output is None else Path(output).absolute()
        folder = None if unsaved is None else Path(unsaved).absolute()
        follower = MdaFollower(mmc.mda, target, folder, self._worker.do, console.say)
        follower.connect(self._begin, self._end)
        self._followers.append(follower)

    # On the worker's thread ----------------------------------------------------------------------

    def _begin_dataset(self, dataset: object) -> None:
        # Of two acquisitions at once the images come in turns.
        if any(known() is dataset for known in self._begun):
            return
        self._begun = [known for known in self._begun if known() is not None]
        with suppress(TypeError):  # nothing that could be remembered: no dataset of pycromanager
            self._begun.append(weakref.ref(dataset))
        path = getattr(dataset, "path", None)
        if not path:
            raise UsageError("the acquisition is not saved", None, "give Acquisition a directory")
        folder = Path(path).absolute()
        self._begin(folder)
        self._planned.begin(folder)  # last: a disk that refuses is no reason not to restore

    def _begin(self, path: Path) -> None:
        assert self._restorations is not None
        self._restorations.begin(path)

    def _end(self, path: Path) -> None:
        assert self._restorations is not None
        self._restorations.end(path)

    # The block ------------------------------------------------------------------------------------

    def __enter__(self) -> LiveRestore:
        from live_restore.hooks.child import Restorations, fresh_log

        if self._worker.running:
            raise UsageError("is in use", "LiveRestore", "make another one for a block inside it")
        options = [] if self._config is None else ["--config", str(self._config)]
        self._forget()
        self._planned.start()
        self._restorations = Restorations(options, fresh_log())
        self._worker.start(partial(self._planned.write, LINES_AT_ONCE), self._restorations.step)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish; whatever goes wrong in it is reported and stays here.

        After Ctrl-C nothing more is begun. After another error in the block what is complete is
        restored, as after an acquisition that was stopped.
        """
        for follower in self._followers:
            if follower.running and kind is None:
                console.say(
                    "an acquisition of pymmcore-plus still goes on, and is not followed any more: "
                    "`.join()` it before the block ends; restore what it saves with: "
                    "live-restore watch"
                )
            follower.disconnect()
        if kind is None:
            self._planned.settle()
        if not self._worker.stop(_THREAD_S):
            console.say(
                "a disk or network does not respond; restore later with: live-restore watch"
            )
            return
        try:
            interrupted = kind is not None and not issubclass(kind, Exception)
            self._finish(0.0 if interrupted else self._finish_s)
        except Exception as problem:  # noqa: BLE001 - the acquisition is complete, and stays so
            console.say(f"{one_line(problem)}; restore later with: live-restore watch")

    def _finish(self, limit_s: float | None) -> None:
        from live_restore.hooks.account import read_account
        from live_restore.hooks.progress import finish_with_progress

        assert self._restorations is not None
        self._worker.attempt(self._planned.write)
        if self._worker.problem:
            console.say(self._worker.problem)
        try:
            finish_with_progress(
                self._restorations,
                limit_s,
                console.say,
                partial(read_account, journals=self._journals),
            )
        finally:
            self.outcomes = self._restorations.outcomes()
