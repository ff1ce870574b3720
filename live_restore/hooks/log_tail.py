"""What the children of a session write into their log, as it grows."""

from __future__ import annotations

from pathlib import Path

_MOST_BYTES = 2**16


class LogTail:
    """Reads on where it left off.

    Parameters
    ----------
    path
        The log; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def new_lines(self) -> list[str]:
        """Return the lines since the last call; of very many, the first."""
        try:
            if self._path.stat().st_size <= self._at:
                return []
            with self._path.open("rb") as log:
                log.seek(self._at)
                text = log.read(_MOST_BYTES)
        except OSError:  # not there yet, or a disk that is away: its children find that out
            return []
        whole = text[: text.rfind(b"\n") + 1] or (text if len(text) == _MOST_BYTES else b"")
        self._at += len(whole)
        return whole.decode(errors="backslashreplace").splitlines()
