"""live-restore: low-light microscope stacks restored as they arrive.

What is named here is public: everything else may change. Each name is loaded when it is first
used, so that a script which only hands its acquisition over loads no numpy for it.

::

    LiveRestore             restores what a script acquires, while it acquires
    Outcome                 what became of one acquisition of a script
    restore                 restores one stack in memory
    DoubtfulWarning         what restore warns with
    Settings, StackKey      everything that can be set; what a stack is called
    LiveRestoreError ...    everything that is raised on purpose, see live_restore.errors
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from live_restore._version import __version__

if TYPE_CHECKING:
    from live_restore.engine.arrays import DoubtfulWarning, restore
    from live_restore.errors import (
        CheckpointError,
        DeviceError,
        DeviceMemoryError,
        DiskFullError,
        FolderBusyError,
        InferenceError,
        JournalError,
        LiveRestoreError,
        ModelError,
        OutputError,
        RuntimeFailureError,
        SettingsError,
        StackBusyError,
        StackChangedError,
        StackError,
        StackIncompleteError,
        StackRefusedError,
        StackRenamedError,
        StackUnreadableError,
        TrainingError,
        UnwritableError,
        UsageError,
    )
    from live_restore.hooks.child import Outcome
    from live_restore.hooks.session import LiveRestore
    from live_restore.settings.model import Settings
    from live_restore.stack import StackKey

__all__ = [
    "CheckpointError",
    "DeviceError",
    "DeviceMemoryError",
    "DiskFullError",
    "DoubtfulWarning",
    "FolderBusyError",
    "InferenceError",
    "JournalError",
    "LiveRestore",
    "LiveRestoreError",
    "ModelError",
    "Outcome",
    "OutputError",
    "RuntimeFailureError",
    "Settings",
    "SettingsError",
    "StackBusyError",
    "StackChangedError",
    "StackError",
    "StackIncompleteError",
    "StackKey",
    "StackRefusedError",
    "StackRenamedError",
    "StackUnreadableError",
    "TrainingError",
    "UnwritableError",
    "UsageError",
    "__version__",
    "restore",
]

_HOMES = {
    "DoubtfulWarning": "live_restore.engine.arrays",
    "LiveRestore": "live_restore.hooks.session",
    "Outcome": "live_restore.hooks.child",
    "Settings": "live_restore.settings.model",
    "StackKey": "live_restore.stack",
    "restore": "live_restore.engine.arrays",
}
"""Where what is public lives, if not in ``live_restore.errors``."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "live_restore.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
