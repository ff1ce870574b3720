"""Every error this project raises on purpose.

::

    LiveRestoreError                 what happened, to which file, what to do next
    ├── UsageError                   wrong command or configuration (exit code 2)
    │   ├── SettingsError            config.toml, environment or a flag
    │   ├── FolderBusyError          another process watches this folder
    │   ├── ModelError               not a model, or one that this version cannot run
    │   ├── CheckpointError          trained weights that are not, or may not be, a 3D RCAN
    │   └── DeviceError              the device that was asked for cannot be used
    ├── StackError                   about one stack; the others go on
    │   ├── StackRefusedError        readable, but nothing to restore (2-D, constant, RGB ...)
    │   ├── StackUnreadableError     damaged, or not what its name says
    │   ├── StackChangedError        changed or vanished between being found and being read
    │   │   └── StackRenamedError    has another name now, and is found under that
    │   ├── StackBusyError           cannot be opened just now: in use, no permission, share gone
    │   └── StackIncompleteError     planes are missing
    ├── InferenceError               the model failed on a stack
    │   └── RuntimeFailureError      the runtime or its device failed; it may pass
    │       └── DeviceMemoryError    the device has too little memory for a tile
    ├── TrainingError                a training run cannot go on
    ├── JournalError                 the journal's disk refuses just now; may be tried again
    └── OutputError                  a result could not be written (no permission, name taken ...)
        ├── DiskFullError            no space, or less than is to be left for others
        └── UnwritableError          the place of results takes nothing: read-only, no permission
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "CheckpointError",
    "DeviceError",
    "DeviceMemoryError",
    "DiskFullError",
    "FolderBusyError",
    "InferenceError",
    "JournalError",
    "LiveRestoreError",
    "ModelError",
    "OutputError",
    "RuntimeFailureError",
    "SettingsError",
    "StackBusyError",
    "StackChangedError",
    "StackError",
    "StackIncompleteError",
    "StackRefusedError",
    "StackRenamedError",
    "StackUnreadableError",
    "TrainingError",
    "UnwritableError",
    "UsageError",
    "one_line",
]


LONGEST_WHAT = 600
"""Characters of what happened; names and values from files may have any number."""


def one_line(text: object) -> str:
    """Return ``text`` on one line, control characters escaped, for a terminal or a log.

    Examples
    --------
    >>> one_line("a\\nb")
    'a\\\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


class LiveRestoreError(Exception):
    """What happened, to which file, and what to do next, in one line.

    Parameters
    ----------
    what
        What happened, lower case, no full stop.
    path
        The file or folder it happened to.
    remedy
        What the person can do next, an imperative.
    """

    exit_code = 1

    def __init__(self, what: str, path: Path | str | None = None, remedy: str = "") -> None:
        self.what = what
        self.path = path
        self.remedy = remedy
        super().__init__(what, path, remedy)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path is not None else ""
        return one_line(f"{where}{self.reason}")

    @property
    def reason(self) -> str:
        """What and what to do, without the path (for tables that already name the file)."""
        what = self.what if len(self.what) <= LONGEST_WHAT else f"{self.what[:LONGEST_WHAT]}..."
        return one_line(f"{what}; {self.remedy}" if self.remedy else what)


class UsageError(LiveRestoreError):
    """A wrong command or configuration."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting with an unknown name or a wrong value."""


class FolderBusyError(UsageError):
    """Another process already watches this folder."""


class ModelError(UsageError):
    """A file that is not a model, or a model that this version cannot run."""


class CheckpointError(UsageError):
    """Trained weights that are damaged, hostile, of another network, or not what was said."""


class DeviceError(UsageError):
    """The device that was asked for cannot be used."""


class StackError(LiveRestoreError):
    """Something about one stack; the others go on."""


class StackRefusedError(StackError):
    """Readable, but nothing to restore: a 2-D image, a constant image, RGB."""


class StackUnreadableError(StackError):
    """Damaged, or not what its name says."""


class StackChangedError(StackError):
    """The file changed or vanished between being found and being read."""


class StackRenamedError(StackChangedError):
    """The file or its acquisition has another name by now; it is found and restored under that."""


class StackBusyError(StackError):
    """Cannot be opened just now: another program holds it, no permission, a share is gone."""


class StackIncompleteError(StackError):
    """Planes of the stack are missing."""


class InferenceError(LiveRestoreError):
    """The model failed on a stack."""


class RuntimeFailureError(InferenceError):
    """The runtime or its device failed on a tile: a driver that was reset, memory that others use.

    It says nothing about the stack, and may pass.
    """


class DeviceMemoryError(RuntimeFailureError):
    """A device has too little memory for a tile; smaller ones may do."""


class TrainingError(LiveRestoreError):
    """A training run cannot go on: its loss is no number any more, or a process was killed."""


class JournalError(LiveRestoreError):
    """The journal cannot be read or written just now (full disk, no permission); try again."""


class OutputError(LiveRestoreError):
    """A result could not be written."""


class DiskFullError(OutputError):
    """The disk has no space for a result, or none that it may take."""


class UnwritableError(OutputError):
    """The folder that results go to takes nothing: read-only, or no permission."""
