"""Structured logs: lines for people where they look, JSON lines in a file for everybody else."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
from pathlib import Path

import structlog

from live_restore.errors import LiveRestoreError, one_line
from live_restore.settings.process import LogSettings

_FILE_BYTES = 5_000_000
_FILES_KEPT = 3


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log file whose disk may refuse: that costs lines, never the program; reported once."""

    _refused = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; report it where that begins to fail."""
        failed_before, self._refused = self._refused, False
        super().emit(record)
        if self._refused and not failed_before:
            print(f"live-restore: {self._why}", file=sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Remember what the disk refused; anything else is logging's own business."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._refused = True
        self._why = LiveRestoreError(
            f"the log cannot be written ({error.strerror or error}); lines are missing from it",
            self.baseFilename,
            "free some space on that disk",
        )

    def close(self) -> None:
        """Close the file; lines that it refused are lost already."""
        with contextlib.suppress(OSError):
            super().close()


def configure_logging(settings: LogSettings, file: Path | None, *, terminal: bool) -> None:
    """Send structlog's events to ``file`` (JSON lines, rotated) and, if asked, to stderr.

    Parameters
    ----------
    settings
        Level, and the format of the lines on stderr.
    file
        The log file; its folder is created.
    terminal
        Write lines to stderr as well (not while the live display is up).

    Raises
    ------
    LiveRestoreError
        The log file cannot be written.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        # As ISO 8601 has it, with the zone: a night in autumn has one hour twice.
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%f%z", utc=False),
    ]
    handlers: list[logging.Handler] = []
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            rotating = _LogFile(
                file,
                maxBytes=_FILE_BYTES,
                backupCount=_FILES_KEPT,
                encoding="utf-8",
                errors="backslashreplace",  # file names need not be valid text
            )
        except OSError as error:
            raise LiveRestoreError(
                f"the log cannot be written ({error.strerror})", file, "make its folder writable"
            ) from None
        rotating.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    structlog.processors.JSONRenderer(ensure_ascii=False),
                ]
            )
        )
        handlers.append(rotating)
    if terminal:
        renderer: structlog.typing.Processor = (
            structlog.processors.JSONRenderer(ensure_ascii=False)
            if settings.format == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        )
        stream = logging.StreamHandler(sys.stderr)
        stream.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _for_terminal,
                    renderer,
                ]
            )
        )
        handlers.append(stream)
    logger = logging.getLogger("live_restore")
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    for handler in handlers or [logging.NullHandler()]:
        logger.addHandler(handler)
    logger.setLevel(settings.level.upper())
    logger.propagate = False
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _for_terminal(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """On the terminal every event is one line; an error's traceback is in the log file."""
    del logger, method
    event.pop("exc_info", None)
    return {key: one_line(v) if isinstance(v, str) else v for key, v in event.items()}
