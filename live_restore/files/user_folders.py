"""The user's own folders on this computer, and fresh folders for what begins now."""

from __future__ import annotations

import os
import time
from pathlib import Path

from live_restore.errors import OutputError

STATE_VARIABLE = "LIVE_RESTORE_STATE"
"""Names the folder of :func:`state_folder`: for a second installation, and for the tests."""
_PROGRAM = "live-restore"
_MOST_OF_A_NAME = 1000


def state_folder() -> Path:
    """Return where journals, logs and measurements of this computer live: on a local disk."""
    if own := os.environ.get(STATE_VARIABLE):
        return Path(own).absolute()
    import platformdirs

    return platformdirs.user_state_path(_PROGRAM, appauthor=False)


def unsaved_folder() -> Path:
    """Return where planes go that no program saves, unless somebody names another place."""
    if os.environ.get(STATE_VARIABLE):
        return state_folder() / "unsaved"
    import platformdirs

    return platformdirs.user_data_path(_PROGRAM, appauthor=False) / "unsaved"


def fresh_folder(parent: Path, name: str = "", remedy: str = "name another place") -> Path:
    """Create and return a folder that nobody has used: ``name``, ``name-2``, ``name-3`` ...

    Parameters
    ----------
    parent
        Is created where it is not there.
    name
        Of the folder; empty: the time, to the second.
    remedy
        What to do where the disk refuses.

    Raises
    ------
    OutputError
        The disk refused, or a thousand of that name are there.
    """
    name = name or time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, _MOST_OF_A_NAME):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            # Windows says the same of a file that lies where a folder above it would have to be.
            if isinstance(error, FileExistsError) and os.path.lexists(folder):
                continue
            raise OutputError(f"cannot be created ({error.strerror})", folder, remedy) from error
        return folder
    raise OutputError(f"holds too many folders called {name}", parent, "remove some of them")
