"""Processes that run beside the daemon: what they have to know of its settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from live_restore.settings.model import Settings


def variables_for(settings: Settings) -> dict[str, str]:
    """Return the environment of such a process: it finds the same journal, and the same stacks."""
    variables = {
        **os.environ,
        "LIVE_RESTORE_FILES__UNDECLARED_AXIS": settings.files.undeclared_axis,
        "LIVE_RESTORE_FILES__INTERLEAVED_CHANNELS": str(settings.files.interleaved_channels),
        "LIVE_RESTORE_INFERENCE__DEVICE": settings.inference.device,
    }
    if settings.files.plane_pattern is not None:
        variables["LIVE_RESTORE_FILES__PLANE_PATTERN"] = settings.files.plane_pattern
    if settings.journal.folder is not None:
        variables["LIVE_RESTORE_JOURNAL__FOLDER"] = str(settings.journal.folder)
    return variables
