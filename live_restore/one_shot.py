"""``live-restore restore``: files from their names to their results, here and now, no journal."""

from __future__ import annotations

import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from live_restore.errors import StackRefusedError, StackUnreadableError
from live_restore.formats.table import make_formats
from live_restore.inference.shelf import Shelf
from live_restore.job import Job, plan_result, publish_job, restore_stack
from live_restore.outputs.naming import report_path
from live_restore.outputs.publish import remove_leftovers
from live_restore.outputs.report import StackOutcome
from live_restore.settings import Settings


@dataclass(frozen=True)
class OneResult:
    """The result of one file; ``already_there``: it was found, and nothing had to be done."""

    source: Path
    image: Path
    report: Path
    warnings: tuple[str, ...] = ()
    already_there: bool = False


class OneShot:
    """Restores the files that a person names.

    Parameters
    ----------
    shelf, settings
        As for the daemon.
    """

    def __init__(self, shelf: Shelf, settings: Settings) -> None:
        self._shelf = shelf
        self._settings = settings
        self._formats = make_formats(undeclared_axis=settings.files.undeclared_axis)
        self._cleaned_folders: set[Path] = set()

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
        _require_a_file(path)
        job = Job.open(path, self._formats, self._settings.files)
        plan = plan_result(job.dataset, self._shelf, self._settings)
        image = plan.place.image
        if plan.current:
            return OneResult(path, image, report_path(image), already_there=True)
        if not job.certain:
            time.sleep(self._settings.watch.settle_s)
            job.check_unchanged()
        if image.parent not in self._cleaned_folders:
            self._cleaned_folders.add(image.parent)
            remove_leftovers(image.parent)
        published = publish_job(job, plan, self._outcomes(job), self._shelf, self._settings)
        return OneResult(path, published.image, published.report, published.warnings)

    def _outcomes(self, job: Job) -> Iterator[StackOutcome]:
        for raw in job.read():
            yield restore_stack(raw, job.dataset, self._shelf)


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


def _require_a_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StackUnreadableError("does not exist", path, "check the name") from error
    except OSError as error:
        raise StackUnreadableError(
            f"cannot be looked at ({error.strerror or error})", path, "check the name and the disk"
        ) from error
    if stat.S_ISDIR(mode):
        raise StackRefusedError(
            "is a folder", path, "for all that is in it use: live-restore watch FOLDER --once"
        )


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM (and Ctrl-Break) end the program as Ctrl-C does: nothing half-written stays.

    A second one ends it at once.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        # What a shell says of a program that this signal ended; Ctrl-Break is the person's own.
        raise SystemExit(143 if number == signal.SIGTERM else 130)

    numbers = [signal.SIGTERM]
    if hasattr(signal, "SIGBREAK"):
        numbers.append(signal.SIGBREAK)
    before = [(number, signal.signal(number, end)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
