"""On the other computer: which bundle this is, what runs from it, what stays."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from live_restore.bundle.hashes import LIST_NAME, differences, listed
from live_restore.bundle.scripts import PROGRAM_PREFIX
from live_restore.errors import LiveRestoreError, UsageError
from live_restore.files.user_folders import state_folder, unsaved_folder
from live_restore.installation import bundle_folder
from live_restore.service import installed as services
from live_restore.service.installed import Installed
from live_restore.settings.layers import computer_file, user_file

_LOOK_S = 0.2


def program_folder() -> Path:
    """Return the program folder that this process runs from.

    Raises
    ------
    UsageError
        It runs from an installation of another kind.
    """
    folder = bundle_folder()
    if folder is None:
        raise UsageError(
            "this live-restore does not run from a bundle", sys.executable,
            "name an unpacked bundle, or start that of the bundle",
        )  # fmt: skip
    return folder


def program_of(folder: Path) -> Path:
    """Return the program folder of an unpacked bundle: ``folder`` itself, or the one in it.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    if (folder / LIST_NAME).is_file():
        return folder
    found = [path for path in older_and_newer(folder) if (path / LIST_NAME).is_file()]
    if len(found) != 1:
        what = "is no unpacked bundle" if not found else "holds several bundles"
        raise UsageError(what, folder, f"name the folder {PROGRAM_PREFIX}... itself")
    return found[0]


def older_and_newer(top: Path) -> list[Path]:
    """Return the program folders in an unpacked bundle, by name."""
    return sorted(path for path in top.glob(f"{PROGRAM_PREFIX}*") if path.is_dir())


def foreign_files(program: Path) -> list[str]:
    """Return what lies in a program folder and is not of the bundle: data that somebody put there.

    What another Python compiled there is nobody's.

    Raises
    ------
    LiveRestoreError
        The list of the bundle cannot be read.
    """
    added = [each.name for each in differences(program) if each.what == "not in the list"]
    return [name for name in added if "__pycache__" not in PurePosixPath(name).parts]


def processes_of(top: Path, patience_s: float = 0.0) -> list[int]:
    """Return the processes that run from a bundle, but for this one and those that started it.

    What was told to stop gets ``patience_s`` to do so.
    """
    until = time.monotonic() + patience_s
    while (found := _running_from(top)) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return found


def _running_from(top: Path) -> list[int]:
    import psutil

    own = {psutil.Process().pid, *(each.pid for each in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            program = process.exe()
        except (psutil.Error, OSError):  # ended, somebody else's, or a system that does not tell
            continue
        if program and process.pid not in own and Path(program).is_relative_to(top):
            found.append(process.pid)
    return sorted(found)


def services_of(top: Path) -> list[Installed]:
    """Return the services of this user that run from a bundle."""
    return [each for each in services.all_installed() if services.runs_from(each, top)]


def take_over() -> Iterator[Installed]:
    """Have every service of this user run from here, and yield each that does.

    Raises
    ------
    LiveRestoreError
        The operating system refused.
    """
    for each in services.all_installed():
        # It may not run just now; whether the new one can be started is what counts.
        with suppress(LiveRestoreError):
            services.stop(each)
        services.install(each.service, each.journal, system=each.system)
        yield each


def what_stays(top: Path) -> list[tuple[Path, str]]:
    """Return what an uninstallation of a bundle leaves on this computer, and what it is.

    Raises
    ------
    LiveRestoreError
        A list of the bundle cannot be read.
    """
    programs = older_and_newer(top)
    scripts = {name.removeprefix("../") for each in programs for name in listed(each)}
    beside = sorted(set(top.iterdir()) - set(programs) - {top / name for name in scripts})
    kept = [
        (state_folder(), "journals, logs and measured devices; without it, results are recognised"),
        (unsaved_folder(), "planes that no program saved: the only copy of them"),
        (user_file(), "settings of this user"),
        (computer_file(), "settings of all users of this computer"),
    ]
    others = [(path, "not of the bundle") for path in beside]
    if sys.pycache_prefix is not None:
        kept.append((Path(sys.pycache_prefix), "what Python compiled; delete it at any time"))
    return others + [(path, what) for path, what in kept if path.exists()]
