"""What was measured on this computer and need not be measured at every start."""

from __future__ import annotations

import io
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FILE = "backends.json"
# Newer ones take the place of the oldest. A folder of stacks of many shapes leaves an answer of up
# to a megabyte per shape; measurements of versions that are gone are never asked for again.
_MOST_ENTRIES = 200
_MOST_ARRAYS = 32


def state_folder() -> Path:
    """Return the user's state folder, on a local disk."""
    import platformdirs

    return platformdirs.user_state_path("live-restore", appauthor=False)


class Remembered:
    """A small table on disk: a key in words, and what was measured.

    It only saves time. What cannot be read is measured again, and what cannot be written will be.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or state_folder() / _FILE

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return everything; nothing where the file is absent or damaged."""
        try:
            table = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(table, dict):
            return {}
        return {k: v for k, v in table.items() if isinstance(v, dict)}

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what was remembered under ``key``."""
        return self.entries().get(key)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Remember; of two processes that do so at once, one may be forgotten."""
        entries = self.entries()
        entries.pop(key, None)
        entries[key] = value
        kept = dict(list(entries.items())[-_MOST_ENTRIES:])
        text = json.dumps(kept, indent=1)
        _replace(self.path, text.encode())

    def array(self, name: str) -> NDArray[np.float32] | None:
        """Return an array that was kept under ``name``, or ``None``."""
        try:
            return np.asarray(np.load(self._array_path(name), allow_pickle=False), np.float32)
        except (OSError, ValueError, EOFError):
            return None

    def keep_array(self, name: str, array: NDArray[np.float32]) -> None:
        """Keep an array."""
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        path = self._array_path(name)
        _replace(path, content.getvalue())
        with suppress(OSError):  # another process may be doing the same
            arrays = sorted(path.parent.glob("*.npy"), key=lambda array: array.stat().st_mtime_ns)
            for oldest in arrays[:-_MOST_ARRAYS]:
                oldest.unlink()

    def _array_path(self, name: str) -> Path:
        return self.path.parent / "known_answers" / f"{name}.npy"


def _replace(path: Path, content: bytes) -> None:
    """Write such that ``path`` is the old or the new file; on a disk that refuses, the old one."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
