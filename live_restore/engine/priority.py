"""Leaves the computer to the acquisition program: priority and cores of this process."""

from __future__ import annotations

import sys

from live_restore.errors import SettingsError
from live_restore.settings.process import ProcessSettings

# Nice values go from 0 to 19; at 5 a process gets a third of what one at 0 gets of a busy core.
_NICE = 5
_LOWEST_NICE = 19


def give_way(settings: ProcessSettings) -> None:
    """Set the priority and the cores of this process and of its threads to come.

    Raises
    ------
    SettingsError
        The computer has no such core, or its system does not let programs choose.
    """
    import psutil

    process = psutil.Process()
    if settings.priority == "below_normal":
        if sys.platform == "win32":
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            # Whoever started it with a lower priority meant it.
            process.nice(max(_NICE, process.nice()))
    if settings.cores is None:
        return
    if not hasattr(process, "cpu_affinity"):
        raise SettingsError(
            "process.cores: this system lets no program choose its cores", None, "remove it"
        )
    try:
        process.cpu_affinity(list(settings.cores))
    except (ValueError, OSError):
        have = psutil.cpu_count() or 1
        raise SettingsError(
            f"process.cores: {list(settings.cores)} are not cores of this computer",
            None,
            f"it has 0 to {have - 1}",
        ) from None


def give_way_to_all() -> None:
    """Set the lowest priority there is: what nobody waits for goes last."""
    import psutil

    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.IDLE_PRIORITY_CLASS)
    else:
        process.nice(_LOWEST_NICE)
