"""Entries in the operating system's own log: start, stop and crash of what watches.

::

    Linux     lines with a priority on standard error, which systemd reads into its journal
    Windows   the event log "Application", source "live-restore"

Where nobody reads them, as in a terminal, there are none: the service's log has the same lines.
"""

from __future__ import annotations

import enum
import os
import sys

from live_restore.errors import one_line

_SOURCE = "live-restore"
# Of one string in an event, Windows takes 31,839 characters; a person reads less.
_LONGEST = 2000


class Happening(enum.Enum):
    """What an entry is about."""

    START = "start"
    STOP = "stop"
    CRASH = "crash"


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _advapi = ctypes.WinDLL("advapi32", use_last_error=True)
    _advapi.RegisterEventSourceW.argtypes = (wintypes.LPCWSTR, wintypes.LPCWSTR)
    _advapi.RegisterEventSourceW.restype = wintypes.HANDLE
    _advapi.ReportEventW.argtypes = (
        wintypes.HANDLE, wintypes.WORD, wintypes.WORD, wintypes.DWORD, wintypes.LPVOID,
        wintypes.WORD, wintypes.DWORD, ctypes.POINTER(wintypes.LPCWSTR), wintypes.LPVOID,
    )  # fmt: skip
    _advapi.DeregisterEventSource.argtypes = (wintypes.HANDLE,)
    # EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE
    _TYPES = {Happening.START: 4, Happening.STOP: 4, Happening.CRASH: 1}
    # Numbers from 1 to 1000 are those for which EventCreate.exe has the message "%1".
    _NUMBERS = {Happening.START: 1, Happening.STOP: 2, Happening.CRASH: 3}

    def report(happening: Happening, text: str) -> str:
        """Write an entry; return "", or why the system refused.

        A source need not be registered: the text is there in any case, behind a sentence of Windows
        that it finds no description, unless an administrator has registered one.
        """
        source = _advapi.RegisterEventSourceW(None, _SOURCE)
        if not source:
            return ctypes.FormatError(ctypes.get_last_error()).strip()
        try:
            strings = (wintypes.LPCWSTR * 1)(one_line(text)[:_LONGEST])
            written = _advapi.ReportEventW(
                source, _TYPES[happening], 0, _NUMBERS[happening], None, 1, 0, strings, None
            )
            return "" if written else ctypes.FormatError(ctypes.get_last_error()).strip()
        finally:
            _advapi.DeregisterEventSource(source)
else:
    # Of syslog, as sd-daemon(3) has them: error, notice.
    _PRIORITIES = {Happening.START: 5, Happening.STOP: 5, Happening.CRASH: 3}

    def report(happening: Happening, text: str) -> str:
        """Write an entry if systemd reads standard error; return "", or why that failed."""
        if not _journal_reads(2, os.environ.get("JOURNAL_STREAM", "")):
            return ""
        line = f"<{_PRIORITIES[happening]}>{one_line(text)[:_LONGEST]}\n"
        try:
            os.write(2, line.encode(errors="backslashreplace"))
        except OSError as error:
            return error.strerror or str(error)
        return ""


def _journal_reads(descriptor: int, stream: str) -> bool:
    """Return whether ``stream``, the device and number that systemd tells, is a descriptor's."""
    try:
        about = os.fstat(descriptor)
    except OSError:
        return False
    return stream == f"{about.st_dev}:{about.st_ino}"
