"""What was measured on this computer and need not be measured at every start."""

from __future__ import annotations

import json
import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.files.reading import read_regular
from live_restore.files.user_folders import state_folder
from live_restore.files.values import NotJsonError, json_object

_FILE = "backends.json"
_MAX_TABLE_BYTES = 4 * 2**20
# Newer ones take the place of the oldest. A folder of stacks of many shapes leaves an answer of up
# to a megabyte per shape; measurements of versions that are gone are never asked for again.
_MOST_ENTRIES = 200
_MOST_ARRAYS = 32


class DeviceCache:
    """A small table on disk: a key in words, and what was measured.

    It only saves time. What cannot be read is measured again, and what cannot be written will be.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or state_folder() / _FILE

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return everything; nothing where the file is absent or damaged."""
        try:
            table = json_object(read_regular(self.path, _MAX_TABLE_BYTES))
        except (OSError, NotJsonError):
            return {}
        return {k: v for k, v in table.items() if isinstance(v, dict)}

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what was put under ``key``, or ``None``."""
        return self.entries().get(key)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Remember; of two processes that do so at once, one may be forgotten."""
        entries = self.entries()
        entries.pop(key, None)
        entries[key] = value
        kept = dict(list(entries.items())[-_MOST_ENTRIES:])
        text = json.dumps(kept, indent=1)
        _replace(self.path, text.encode())

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        """Return an array of this shape that was kept under ``name``, or ``None``."""
        # Bare numbers: a header could claim any shape.
        wanted = math.prod(shape) * 4
        try:
            content = read_regular(self._array_path(name), wanted)
        except OSError:
            return None
        return np.frombuffer(content, "<f4").reshape(shape) if len(content) == wanted else None

    def keep_array(self, name: str, array: NDArray[np.float32]) -> None:
        """Keep an array."""
        path = self._array_path(name)
        _replace(path, array.astype("<f4").tobytes())
        with suppress(OSError):  # another process may be doing the same
            arrays = sorted(path.parent.glob("*.f32"), key=lambda array: array.stat().st_mtime_ns)
            for oldest in arrays[:-_MOST_ARRAYS]:
                oldest.unlink()

    def _array_path(self, name: str) -> Path:
        return self.path.parent / "known_answers" / f"{name}.f32"


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
