"""File events: they wake the scanner early, and are never relied upon."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from pathlib import Path

from live_restore.errors import LiveRestoreError


def watch_events(root: Path, recursive: bool, hint: Callable[[Path], None]) -> Callable[[], None]:
    """Let the file system call ``hint``; return a function that ends it.

    Only wakes: a lost event costs at most one scan interval. Moves count at their destination.

    Raises
    ------
    LiveRestoreError
        The system refuses to watch (too many watches, too deep a tree); scans alone go on working.
    """
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    class _Waker(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type in ("opened", "closed_no_write", "deleted"):
                return
            if event.is_directory and event.event_type == "modified":
                return  # sent beside the event of every file in it; would cost a scan each
            hint(Path(os.fsdecode(event.dest_path or event.src_path)))

    observer = Observer()
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
