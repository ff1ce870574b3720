"""The log of a service: what was started, what ended, and what ``watch`` said meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from live_restore.errors import LiveRestoreError, one_line
from live_restore.files.user_folders import state_folder
from live_restore.service.definition import Service
from live_restore.service.system_log import Happening, report

_LOG_BYTES = 1_000_000
_LOGS_KEPT = 3


def service_log(service: Service) -> Path:
    """Return where starts, ends and crashes of a service are written."""
    return state_folder() / "services" / f"{service.name}.log"


def opened_log(service: Service, echo: Callable[[str], None] | None = None) -> ServiceLog:
    """Return the log of a service of one folder; raises ``LiveRestoreError``."""
    path = service_log(service)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            path, maxBytes=_LOG_BYTES, backupCount=_LOGS_KEPT, encoding="utf-8",
            errors="backslashreplace",
        )  # fmt: skip
    except OSError as error:
        raise LiveRestoreError(
            f"the log cannot be written ({error.strerror})", path, "make its folder writable"
        ) from None
    return ServiceLog(handler, str(service.folder), echo)


class ServiceLog:
    """Lines with date, time and zone, in a file that is rotated.

    Parameters
    ----------
    handler
        Of that file.
    what
        Is watched, for people.
    echo
        Gets every line, too.

    Attributes
    ----------
    said
        The last line of ``watch``: the reason of its end, where there is one.
    """

    def __init__(
        self,
        handler: RotatingFileHandler,
        what: str = "",
        echo: Callable[[str], None] | None = None,
    ) -> None:
        self._handler = handler
        self._what = what
        self._echo = echo
        self._lock = threading.Lock()
        self.said = ""

    def line(self, text: str) -> None:
        """Write one line; a full disk costs lines, not the service."""
        text = one_line(text)
        dated = f"{time.strftime('%Y-%m-%d %H:%M:%S %z')} {text}"
        record = logging.LogRecord("service", logging.INFO, "", 0, dated, None, None)
        with self._lock, suppress(OSError, ValueError):
            self._handler.emit(record)
        if self._echo is not None:
            self._echo(f"{self._what}: {text}")

    def event(self, happening: Happening, text: str) -> None:
        """Write one line here and into the log of the operating system."""
        self.line(text)
        if refused := report(happening, f"{self._what}: {text}"):
            self.line(f"the system's log takes no entries ({refused})")

    def copy(self, stream: IO[bytes]) -> None:
        """Write every line of a stream, to its end."""
        for line in stream:
            self.said = one_line(line.decode(errors="backslashreplace").rstrip())
            self.line(f"watch: {self.said}")

    def close(self) -> None:
        """Close the file."""
        self._handler.close()

    def __enter__(self) -> ServiceLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
