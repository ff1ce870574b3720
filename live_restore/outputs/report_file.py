"""The file that a report is: how its format is called, how large it may be, and reading it.

Imports no runtime of models: displays read reports, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from live_restore.files.reading import read_regular
from live_restore.files.values import json_object

REPORT_FORMAT = "live-restore-report/1"
MAX_REPORT_BYTES = 128 * 2**20
"""Of a report: a stack takes about 1.5 kB."""


def read_report(path: Path) -> dict[str, Any]:
    """Return a report as anybody may have changed it since.

    Raises
    ------
    OSError
        It is not there, cannot be read, or is larger than any.
    NotJsonError
        It is something else.
    """
    return json_object(read_regular(path, MAX_REPORT_BYTES))
