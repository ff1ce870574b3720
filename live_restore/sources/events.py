"""File events: they wake the scanner early, and are never relied upon."""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.errors import LiveRestoreError

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

# On Windows, where events are asked for: 20 times per second no core can tell from none.
_ASK_AGAIN_S = 0.05


def watch_events(root: Path, recursive: bool, hint: Callable[[Path], None]) -> Callable[[], None]:
    """Let the file system call ``hint``; return a function that ends it.

    Only wakes: a lost event costs at most one scan interval. Moves count at their destination.

    Raises
    ------
    LiveRestoreError
        The system refuses to watch (too many watches, too deep a tree); scans alone go on working.
    """
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    class _Waker(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in ("opened", "closed_no_write", "deleted"):
                return
            if event.is_directory and event.event_type == "modified":
                return  # sent beside the event of every file in it; would cost a scan each
            hint(Path(os.fsdecode(event.dest_path or event.src_path)))

    observer = _make_observer()
    try:
        root.stat()  # or an observer on Windows finds that out in a thread, whose error nobody gets
        observer.schedule(_Waker(), str(root), recursive=recursive)
        observer.start()
    # It walks the tree recursively on Python 3.11. On Windows it waits 2 s for the disk, maybe that
    # of a share, and then raises what its own queue raised.
    except (OSError, RecursionError, queue.Empty) as error:
        observer.stop()  # it may have started a thread before it gave up
        why = getattr(error, "strerror", None) or str(error) or "the disk does not answer"
        raise LiveRestoreError(
            f"file events are not available ({why})",
            root,
            "nothing to do: the folder is scanned instead",
        ) from None

    def stop() -> None:
        observer.stop()
        observer.join()

    return stop


def _make_observer() -> BaseObserver:
    """Return what watches on this system."""
    if sys.platform != "win32":
        from watchdog.observers import Observer

        return Observer()

    from watchdog.observers.api import BaseObserver
    from watchdog.observers.read_directory_changes import WindowsApiEmitter

    class PromptEmitter(WindowsApiEmitter):
        """Hands on what there is, while more arrives.

        watchdog 7 gathers until nothing has happened for the time that it is given, 1 s by itself:
        of planes that follow each other faster it would tell nothing before the last one.
        """

        def queue_events(self, timeout: float) -> None:
            del timeout
            super().queue_events(0.0)
            self.stopped_event.wait(_ASK_AGAIN_S)

    return BaseObserver(PromptEmitter)
