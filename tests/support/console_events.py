"""What the console of Windows tells a process: Ctrl-C, Ctrl-Break, that its window is closed.

Windows sends the first two to whole groups, and the others to all that share a console. One process
alone hears of them if the routine that Windows would call in it is called from outside, which is
what terminals do to end a program.
"""

from __future__ import annotations

import enum
import sys


class ConsoleEvent(enum.IntEnum):
    """As ``SetConsoleCtrlHandler`` documents them."""

    CTRL_C = 0
    CTRL_BREAK = 1
    CLOSE = 2
    LOGOFF = 5
    SHUTDOWN = 6


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.OpenProcess.restype = wintypes.HANDLE
    _kernel.GetModuleHandleW.argtypes = (wintypes.LPCWSTR,)
    _kernel.GetModuleHandleW.restype = wintypes.HMODULE
    _kernel.GetProcAddress.argtypes = (wintypes.HMODULE, wintypes.LPCSTR)
    _kernel.GetProcAddress.restype = wintypes.LPVOID
    _kernel.CreateRemoteThread.argtypes = (
        wintypes.HANDLE, wintypes.LPVOID, ctypes.c_size_t, wintypes.LPVOID, wintypes.LPVOID,
        wintypes.DWORD, wintypes.LPVOID,
    )  # fmt: skip
    _kernel.CreateRemoteThread.restype = wintypes.HANDLE
    _kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    _ALL_ACCESS = 0x1F0FFF

    def send(pid: int, event: ConsoleEvent) -> None:
        """Tell a process what its console would tell it."""
        process = _kernel.OpenProcess(_ALL_ACCESS, False, pid)
        assert process, ctypes.FormatError(ctypes.get_last_error())
        # System libraries lie at the same address in all processes of a boot.
        routine = _kernel.GetProcAddress(_kernel.GetModuleHandleW("kernel32"), b"CtrlRoutine")
        thread = _kernel.CreateRemoteThread(process, None, 0, routine, int(event), 0, None)
        assert thread, ctypes.FormatError(ctypes.get_last_error())
        _kernel.CloseHandle(thread)
        _kernel.CloseHandle(process)
else:

    def send(pid: int, event: ConsoleEvent) -> None:
        """Only Windows has such events."""
        raise NotImplementedError
