"""A model learns from a run beside the daemon that restores it, whenever that has nothing to do.

    python -m live_restore.cli.adapt_beside DIR [--config FILE] [--model MODEL]

A process of its own, below everything else, on a leash. It reads the journal, and starts
``live-restore-export adapt`` for a run that has enough stacks; that looks at the journal, too, and
waits between its steps while anything waits or is restored. What it learnt is a file beside the
run; nobody restores with it unless a person names it in the settings.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.cli.beside import running_beside
from live_restore.errors import LiveRestoreError, UsageError, one_line
from live_restore.hooks.leash import PYTHON, end, when_dropped
from live_restore.journal.states import State
from live_restore.workshop import adapt_command, adapted_model, require_workshop

if TYPE_CHECKING:
    from live_restore.journal.entry import Entry
    from live_restore.settings.model import Settings

_LOOK_S, _TICK_S = 5.0, 0.3
_CLOSE_S = 5.0


@contextmanager
def adapt_beside(
    root: Path,
    settings: Settings,
    config: Path | None,
    model: str | None,
    report: Callable[[str], None] | None,
) -> Iterator[None]:
    """Let a model learn from the runs of a folder while the block runs, if the settings ask for it.

    Parameters
    ----------
    root
        The watched folder.
    settings, config
        The daemon's, and the file that they came from.
    model
        To begin with; ``None``: that of the settings.
    report
        Gets the lines for people, from another thread; ``None``: they are printed.

    Raises
    ------
    UsageError
        There is no camera, or PyTorch is not installed: better known now than at night.
    """
    if not settings.adapt.after_stacks:
        yield
        return
    if settings.camera is None and not settings.cameras:
        raise UsageError(
            "adapt.after_stacks needs the camera: photons are dealt out by its gain", config,
            "measure it with live-restore camera, or leave after_stacks out",
        )  # fmt: skip
    require_workshop()
    command = [*PYTHON, "live_restore.cli.adapt_beside", str(root)]
    if config is not None:
        command += ["--config", str(config.absolute())]
    if model is not None:
        command += ["--model", model]
    with running_beside("adapting", command, root, settings, report):
        yield


def due(entries: Iterable[Entry], after: int, tried: Collection[Path]) -> tuple[Path, int] | None:
    """Return a run that has ``after`` restored stacks and is not among ``tried``, and a channel.

    Parameters
    ----------
    entries
        Of the journal, in the order of completion: the run that was restored last comes first.
    after, tried
        Of how many stacks, and which runs were learnt from; paths relative to the watched folder.

    Returns
    -------
    run, channel
        Of files, the folder that they lie in; the channel that has most restored stacks, 0 where
        files may hold several.
    """
    restored: dict[Path, Counter[int]] = {}
    for entry in entries:
        if entry.state is State.DONE:
            run = entry.key.run
            channels = restored.pop(run, Counter())  # the last one moves to the end
            channels[entry.key.channel] += 1
            restored[run] = channels
    for run, channels in reversed(restored.items()):
        if run not in tried and channels.total() >= after:
            return run, channels.most_common(1)[0][0]
    return None


class DueRuns:
    """Asks a journal again and again which run is :func:`due`.

    Parameters
    ----------
    root, journal
        The watched folder, and its journal's file.
    after
        Of how many restored stacks a run is learnt from.
    """

    def __init__(self, root: Path, journal: Path, after: int) -> None:
        self._root, self._journal = root, journal
        self._after = after
        self._asked_for: object = None

    def now(self, tried: Collection[Path]) -> tuple[Path, int] | None:
        """Return what is due, if the daemon has nothing to do and its journal can be read.

        The entries are read only where others are restored or tried than at the last look: of a
        long run they are many, and most of the time nothing happens.
        """
        from live_restore.journal.view import JournalView, is_busy

        with suppress(LiveRestoreError), JournalView(self._journal, self._root) as view:
            if is_busy(view):
                return None
            asked_for = view.recipe, view.counts()[State.DONE], len(tried)
            if asked_for == self._asked_for:
                return None
            found = due(view.entries(), self._after, tried)
            self._asked_for = asked_for
            return found
        return None  # the daemon makes it, and may not be so far, or it is locked: the next look


class _Adapting:
    """Looks at a journal, and learns when it is time."""

    def __init__(
        self, root: Path, journal: Path, settings: Settings, config: Path | None,
        model: str | None, dropped: threading.Event,
    ) -> None:  # fmt: skip
        self._root, self._journal = root, journal
        self._settings, self._config, self._model = settings, config, model
        self._dropped = dropped
        self._due = DueRuns(root, journal, settings.adapt.after_stacks)
        self._tried: set[Path] = set()

    def run(self) -> None:
        """Return when the leash is let go."""
        while not self._dropped.wait(_LOOK_S):
            found = self._due.now(self._tried)
            if found is not None:
                self._tried.add(found[0])
                self._learn(*found)

    def _learn(self, run: Path, channel: int) -> None:
        folder = self._root / run
        model = adapted_model(folder, self._root)
        if model.exists():
            return
        minutes = self._settings.adapt.minutes
        command = adapt_command(
            folder, "--beside", str(self._root), str(self._journal),
            config=self._config, model=self._model, minutes=minutes, channel=channel, output=model,
        )  # fmt: skip
        _say(f"learning from {folder.name} for {minutes:g} minutes, whenever nothing waits")
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        last = deque([b"it said nothing"], maxlen=1)
        listening = threading.Thread(target=_listen, args=(child, last), daemon=True)
        listening.start()
        while child.poll() is None:
            if self._dropped.wait(_TICK_S):
                end(child, _CLOSE_S)
                return
        listening.join()
        said = one_line(last[0].decode("utf-8", "replace"))
        learnt = "learnt" if child.returncode == 0 else "nothing learnt"
        _say(f"{learnt} from {folder.name}: {said}")


def _listen(child: subprocess.Popen[bytes], last: deque[bytes]) -> None:
    assert child.stdout is not None
    with child.stdout:
        last.extend(line.strip() for line in child.stdout if line.strip())


def _say(line: str) -> None:
    print(f"adapt: {line}", flush=True)


def main() -> int:
    """Run until the leash is let go."""
    from live_restore.engine.priority import give_way, give_way_to_all
    from live_restore.journal.location import journal_path
    from live_restore.settings.load import load_settings

    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    settings = load_settings(arguments.config, {}, lambda _: None, folder=arguments.root)
    give_way(settings.process)
    give_way_to_all()
    dropped = threading.Event()
    when_dropped(dropped.set)
    journal = journal_path(arguments.root, settings.journal.folder)
    _Adapting(arguments.root, journal, settings, arguments.config, arguments.model, dropped).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
