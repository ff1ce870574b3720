"""What only Windows has: files opened to be shared, drives of the network, a limit of paths.

The questions have answers on other systems, too; :func:`open_shared` is for Windows alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path, PureWindowsPath

SHARING_VIOLATION = (32, 33)
"""``winerror``: another program holds the file open for itself alone, or a part of it locked."""
_LONGEST_PATH = 259
"""Characters: MAX_PATH is 260 with the end mark."""


def is_network_share(path: Path | PureWindowsPath) -> bool:
    r"""Return whether a path is written as that of another computer's share.

    Examples
    --------
    >>> is_network_share(PureWindowsPath(r"\\server\data\run"))
    True
    >>> is_network_share(PureWindowsPath(r"\\?\UNC\server\data"))
    True
    >>> is_network_share(PureWindowsPath(r"\\?\C:\data"))
    False
    >>> is_network_share(PureWindowsPath("C:/data"))
    False
    """
    drive = PureWindowsPath(path).drive.upper()
    if drive.startswith(("\\\\?\\", "\\\\.\\")):
        return drive.startswith("\\\\?\\UNC\\")
    return drive.startswith("\\\\")


def too_long(path: Path) -> str:
    """Return in words that a path is longer than this Windows opens, "" where it is not.

    Windows says of such a path that nothing is there, unless an administrator lifted the limit.
    """
    length = len(str(path))
    if os.name != "nt" or length <= _LONGEST_PATH or long_paths_enabled():
        return ""
    return f"its path has {length} characters, and this Windows opens {_LONGEST_PATH}"


LONG_PATHS_REMEDY = 'shorten it, or enable long paths: see "long paths" of live-restore doctor'


if sys.platform == "win32":
    import ctypes
    import msvcrt
    import winreg
    from ctypes import wintypes

    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.CreateFileW.argtypes = (
        wintypes.LPCWSTR, wintypes.DWORD, wintypes.DWORD, wintypes.LPVOID, wintypes.DWORD,
        wintypes.DWORD, wintypes.HANDLE,
    )  # fmt: skip
    _kernel.CreateFileW.restype = wintypes.HANDLE
    _kernel.GetDriveTypeW.argtypes = (wintypes.LPCWSTR,)
    _GENERIC_READ = 0x80000000
    _SHARE_ALL = 0x1 | 0x2 | 0x4  # with those who read, write, and rename or delete
    _OPEN_EXISTING = 3
    _ATTRIBUTE_NORMAL = 0x80
    _INVALID_HANDLE = wintypes.HANDLE(-1).value
    _DRIVE_REMOTE = 4

    def open_shared(path: Path) -> int:
        """Return a descriptor to read a file that others may write, rename and delete meanwhile.

        ``os.open`` lets them write only: the program that owns the file could not rename or delete
        it while it is read here.

        Raises
        ------
        OSError
            With ``winerror``, which ``os.open`` does not give.
        """
        handle = _kernel.CreateFileW(
            str(path), _GENERIC_READ, _SHARE_ALL, None, _OPEN_EXISTING, _ATTRIBUTE_NORMAL, None
        )
        if handle == _INVALID_HANDLE:
            number = ctypes.get_last_error()
            raise OSError(0, ctypes.FormatError(number).strip(), str(path), number)
        try:
            return msvcrt.open_osfhandle(handle, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
        except BaseException:
            _kernel.CloseHandle(wintypes.HANDLE(handle))
            raise

    def is_network_drive(path: Path) -> bool:
        """Return whether a path is on another computer's share, by name or by a drive letter."""
        return is_network_share(path) or (
            bool(path.drive) and _kernel.GetDriveTypeW(path.drive + "\\") == _DRIVE_REMOTE
        )

    def long_paths_enabled() -> bool:
        """Return whether the administrator of this computer has lifted the limit of paths."""
        try:
            key = r"SYSTEM\CurrentControlSet\Control\FileSystem"
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                return bool(winreg.QueryValueEx(opened, "LongPathsEnabled")[0])
        except OSError:
            return False
else:

    def open_shared(path: Path) -> int:
        """Only Windows keeps those who write a file from renaming it while it is read."""
        raise NotImplementedError

    def is_network_drive(path: Path) -> bool:  # noqa: ARG001 - what Windows asks
        """Return whether a path names another computer's share; only Windows has drives of it."""
        return False

    def long_paths_enabled() -> bool:
        """Return whether paths may be as long as the file system takes them."""
        return True
