"""The settings of a command: what must be known of them is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from live_restore.errors import one_line
from live_restore.settings import load
from live_restore.settings.model import Settings


def load_settings(path: Path | None, flags: dict[str, Any]) -> Settings:
    """Return the settings; names that have changed are printed to stderr.

    Raises
    ------
    SettingsError
        As :func:`live_restore.settings.load.load_settings`.
    """
    return load.load_settings(path, flags, notice=_print)


def _print(notice: str) -> None:
    print(f"live-restore: {one_line(notice)}", file=sys.stderr)
