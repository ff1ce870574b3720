"""Shared storage has a name on every computer: from one to the other and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\|//")


class SharedPaths:
    """Folders of shared storage that are called otherwise on this computer.

    Parameters
    ----------
    here_by_there
        Their names on this computer, by those on others.

    Examples
    --------
    >>> paths = SharedPaths({"D:/data": "/mnt/data", "/nas": "/mnt/nas"})
    >>> paths.here(r"d:\\Data\\run_1"), paths.here("/nas2/x"), paths.here("/nas")
    (PosixPath('/mnt/data/run_1'), PosixPath('/nas2/x'), PosixPath('/mnt/nas'))
    >>> paths.there("/mnt/data/run_1/a.tif"), paths.there("/tmp")
    ('D:/data/run_1/a.tif', '/tmp')
    """

    def __init__(self, here_by_there: Mapping[str, str]) -> None:
        self._pairs = tuple(here_by_there.items())

    def here(self, there: str) -> Path:
        """Return what a path of another computer is called here; most are called the same."""
        return Path(_moved(there, self._pairs))

    def there(self, here: str) -> str:
        """Return what a path of this computer is called there."""
        return _moved(here, ((here, there) for there, here in self._pairs))


def _moved(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return ``path`` below the other name of the longest folder that it lies in."""
    for folder, other in sorted(pairs, key=lambda pair: len(pair[0]), reverse=True):
        rest = _below(path, folder)
        if rest is not None:
            base = other.rstrip("/\\") or "/"
            return f"{base.rstrip('/')}/{rest}" if rest else base
    return path


def _below(path: str, folder: str) -> str | None:
    """Return the rest of ``path`` below ``folder``, ``None`` where it does not lie there."""
    windows = _WINDOWS.match(folder) is not None
    if windows:
        path, folder = path.replace("\\", "/"), folder.replace("\\", "/")
    folder = folder.rstrip("/")
    start = path[: len(folder)]
    same = start.lower() == folder.lower() if windows else start == folder
    rest = path[len(folder) :]
    return rest.lstrip("/") if same and (not rest or rest[0] == "/") else None
