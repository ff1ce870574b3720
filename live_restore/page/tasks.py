"""What people ask for on the page, one after the other, each in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from live_restore.errors import LiveRestoreError, one_line
from live_restore.stack import StackIndex, StackKey

_MOST_WAITING = 20
_KEPT = 50
_PREVIEWS_KEPT = 8
"""A stack of 60 x 2048 x 2048 is 0.5 GB."""
_LONGEST_LINE = 10_000


@dataclass(frozen=True)
class Task:
    """Something that was asked for.

    Parameters
    ----------
    number
        Counts from 1.
    words, model
        What it is, for people.
    of
        How many stacks or files it is about.
    stack
        The stack of a preview; "": none.
    state
        "waiting", "running", "done" or "failed".
    now
        What is done just now, in words.
    done, failed
        Names of results, and what could not be restored.
    began, ended
        When work on it did (monotonic s).
    """

    number: int
    words: str
    model: str
    of: int
    stack: str = ""
    state: str = "waiting"
    now: str = ""
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    began: float | None = None
    ended: float | None = None

    @property
    def took_s(self) -> float | None:
        """How long it has been worked on (s), ``None`` while it waits."""
        if self.began is None:
            return None
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    def to_json(self) -> dict[str, Any]:
        """Return it for the API; no path is in it but names of results."""
        return {
            "number": self.number,
            "what": self.words,
            "model": self.model,
            "of": self.of,
            "stack": self.stack,
            "state": self.state,
            "now": self.now,
            "done": len(self.done),
            "results": self.done[-5:],
            "failed": self.failed[-5:],
            "seconds": None if self.took_s is None else round(self.took_s, 1),
        }


class TooMuchError(Exception):
    """More waits than anybody means to ask for."""


class Tasks:
    """Does them, in a thread; none of them in this process.

    Parameters
    ----------
    root
        The watched folder.
    journal
        Its journal's file: previews lie beside it, and go with this process.
    config
        The settings' file.
    """

    def __init__(self, root: Path, journal: Path, config: Path | None = None) -> None:
        self._root = root
        self._config = config
        _remove_previews_of_the_dead(journal)
        self._folder = journal.with_suffix(f".previews-{psutil.Process().pid}")
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._tasks: dict[int, Task] = {}
        self._news = threading.Event()
        self._closing = False
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._work, name="tasks", daemon=True)

    def preview(self, stack: str, name: str, key: StackKey, at: StackIndex, model: str) -> int:
        """Ask for a preview of a stack; return the task's number.

        Raises
        ------
        TooMuchError
            Too much waits already.
        """
        request = {"key": as_request(key), "at": list(at)}
        return self._ask(Task(0, f"preview of {name}", model, 1, stack), request)

    def again(self, keys: Sequence[StackKey], model: str) -> int:
        """Ask for results by another model; return the task's number. Raises as :meth:`preview`."""
        request = {"keys": [as_request(key) for key in keys]}
        return self._ask(Task(0, "restore again", model, len(keys)), request)

    def adapt(self, run: Path, channel: int, model: str) -> int:
        """Ask for a model that has learnt from a run, a path below the folder; as :meth:`again`."""
        request = {"adapt": str(run), "channel": channel}
        name = one_line((self._root / run).resolve().name)[-80:]
        return self._ask(Task(0, f"adapt to {name}", model, 1), request)

    def all(self) -> list[Task]:
        """Return the last tasks, in order."""
        with self._lock:
            return list(self._tasks.values())

    def preview_of(self, stack: str) -> tuple[int, Path] | None:
        """Return number and file of the newest preview of a stack."""
        for task in reversed(self.all()):
            if task.stack == stack and task.state == "done":
                return task.number, self._file(task.number)
        return None

    def close(self) -> None:
        """End what runs, and remove the previews."""
        self._closing = True
        self._news.set()
        child = self._child
        if child is not None:
            child.kill()
        if self._thread.is_alive():
            self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self._folder / f"{number}.npy"

    def _ask(self, task: Task, request: dict[str, Any]) -> int:
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                raise TooMuchError
            number = max(self._tasks, default=0) + 1
            if task.stack:
                request["preview"] = str(self._file(number))
            request |= {"root": str(self._root), "model": task.model}
            request["config"] = "" if self._config is None else str(self._config)
            self._tasks[number] = replace(task, number=number)
            self._waiting.append((number, request))
            for old in list(self._tasks)[:-_KEPT]:
                del self._tasks[old]
            if not self._thread.is_alive():
                self._thread.start()
        self._news.set()
        return number

    def _work(self) -> None:
        while not self._closing:
            self._news.wait()
            self._news.clear()
            while self._waiting and not self._closing:
                with self._lock:
                    number, request = self._waiting.popleft()
                self._do(number, request)
                self._forget_old_previews()

    def _do(self, number: int, request: dict[str, Any]) -> None:
        self._change(number, state="running", began=time.monotonic())
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "live_restore.page.work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._end(number, [one_line(error)], well=False)
            return
        self._child = child
        assert child.stdin is not None
        assert child.stdout is not None
        done: list[str] = []
        failed: list[str] = []
        with child, child.stdin, child.stdout:
            try:
                child.stdin.write(json.dumps(request) + "\n")
                child.stdin.flush()
                for line in iter(lambda: child.stdout.readline(_LONGEST_LINE), ""):  # type: ignore[union-attr]
                    told = json.loads(line)
                    done += [told["done"]] if "done" in told else []
                    failed += [one_line(told[name]) for name in ("failed", "error") if name in told]
                    now = one_line(told.get("now", ""))
                    self._change(number, now=now, done=tuple(done), failed=tuple(failed))
            except (OSError, ValueError):
                child.kill()
        self._child = None
        if child.returncode and not failed:
            failed.append("its process died; nothing else is affected")
        well = not failed and child.returncode == 0
        self._end(number, failed, well=well)

    def _end(self, number: int, failed: Sequence[str], *, well: bool) -> None:
        state = "done" if well else "failed"
        self._change(number, state=state, now="", failed=tuple(failed), ended=time.monotonic())

    def _change(self, number: int, **changes: Any) -> None:
        with self._lock:
            if number in self._tasks:
                self._tasks[number] = replace(self._tasks[number], **changes)

    def _forget_old_previews(self) -> None:
        previews = [task for task in self.all() if task.stack and task.state == "done"]
        for task in previews[:-_PREVIEWS_KEPT]:
            self._file(task.number).unlink(missing_ok=True)
            self._change(task.number, stack="")


def as_request(key: StackKey) -> list[Any]:
    """Return a key as ``page.work`` reads it."""
    return [str(key.acquisition), None if key.index is None else list(key.index)]


def _remove_previews_of_the_dead(journal: Path) -> None:
    for folder in journal.parent.glob(f"{journal.stem}.previews-*"):
        number = folder.suffix.rpartition("-")[2]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def read_preview(file: Path) -> Any:
    """Return the voxels (Z, Y, X) of a preview, as they lie on the disk.

    Raises
    ------
    LiveRestoreError
        It is not there any more.
    """
    import numpy as np

    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise LiveRestoreError("the preview is not there any more", None, "ask again") from error
