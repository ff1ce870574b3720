"""The Python of a bundle: one that a person downloaded, or the one that runs this command.

::

    Windows   python.org's "embeddable package" (a zip), which runs from any folder
    Linux     the unpacked folder of a relocatable Python (such as python-build-standalone's), or a
              copy of the Python that runs this command, with the libraries that it loads

A copy needs a glibc at least as new as this computer's; a downloaded one says itself what it needs.

Either keeps what it compiles in the user's cache folder, and reads nothing compiled from beside a
module: a file in a ``__pycache__`` of the bundle would run instead of the module that the list of
hashes has, and no list could name what Python adds there by itself.
"""

from __future__ import annotations

import ast
import io
import platform as system
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from live_restore.bundle.hashes import sha256_of
from live_restore.bundle.packages import Platform
from live_restore.errors import LiveRestoreError, UsageError

# An unpacked Python with its tests has 150 to 400 MB, and 10,000 files.
_MOST_BYTES = 2**30
_AMD64 = 0x8664
_LDD_S = 30.0
# Nothing here runs them, they are large, or what they load is under the GPL (readline) or X11's.
_LEFT_OUT = frozenset((
    "__pycache__", "config", "dist-packages", "ensurepip", "idlelib", "lib2to3", "site-packages",
    "test", "tests", "tkinter", "turtledemo",
))  # fmt: skip
_LEFT_OUT_MODULES = re.compile(
    r"(_tkinter|_curses.*|readline|_gdbm|_dbm|nis|_crypt|ossaudiodev|spwd|xx.*|_xx.*|_test.*|_ctypes_test)\."
)
# Parts of glibc and of the compiler's run time: every Linux that runs wheels has its own.
_OF_THE_SYSTEM = re.compile(
    r"(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libutil|libresolv|libgcc_s|libstdc\+\+)\.so"
)


@dataclass(frozen=True)
class PythonSource:
    """Where the Python of a bundle comes from.

    Parameters
    ----------
    version
        Such as ``(3, 11)``.
    given
        What a person downloaded: a zip (Windows) or a folder (Linux); ``None``: the one that runs
        this command.
    sha256
        Of the zip (hex); empty without one.
    """

    version: tuple[int, int]
    given: Path | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Placed:
    """What was put into the bundle.

    Parameters
    ----------
    packages
        Where packages go.
    needs
        What the computer must have, for people.
    libraries
        Files of this computer's system that went along.
    """

    packages: Path
    needs: str
    libraries: tuple[Path, ...] = field(default=())


def look_at(given: Path | None, platform: Platform) -> PythonSource:
    """Return what Python a bundle will have.

    Raises
    ------
    UsageError
        There is none for that system.
    """
    if platform == "windows":
        return _look_at_zip(given)
    if given is not None:
        return _look_at_folder(given)
    remedy = "name the folder of a relocatable one with --python"
    if sys.platform != "linux" or system.machine() != "x86_64":
        what = "only on 64-bit x86 Linux the running Python can go into the bundle"
        raise UsageError(what, None, remedy)
    if "deb_system" in sysconfig.get_scheme_names():
        what = "Debian and Ubuntu changed this Python such that it finds no packages elsewhere"
        raise UsageError(what, sys.executable, remedy)
    return PythonSource(sys.version_info[:2])


def _look_at_zip(given: Path | None) -> PythonSource:
    remedy = 'download a "Windows embeddable package (64-bit)", 3.11 or newer, from python.org'
    if given is None:
        what = "a bundle for Windows needs a Python for Windows"
        raise UsageError(what, None, f"{remedy}, and name it with --python")
    try:
        with zipfile.ZipFile(given) as files:
            names = files.namelist()
        digest = sha256_of(given)
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"cannot be read ({error})", given, remedy) from None
    if (version := _version(names, r"python(\d)(\d+)\.dll\Z")) is None:
        raise UsageError("is no embeddable Python for Windows", given, remedy)
    return PythonSource(version, given, digest)


def _look_at_folder(given: Path) -> PythonSource:
    names = [path.name for path in (given / "bin").glob("python3.*")]
    if (version := _version(names, r"python(\d)\.(\d+)\Z")) is None:
        what = "is no folder with bin/python3.11 or newer"
        raise UsageError(what, given, "name the folder of an unpacked Python")
    return PythonSource(version, given)


def place(source: PythonSource, platform: Platform, into: Path) -> Placed:
    """Put a Python into the folder ``into``, which is made.

    Raises
    ------
    LiveRestoreError
        A file cannot be copied, or the zip is damaged.
    """
    try:
        into.mkdir(parents=True)
        if platform == "windows":
            return _embeddable(source, into)
        if source.given is not None:
            return _relocatable(source, source.given, into)
        return _running(source, into)
    except (OSError, shutil.Error, zipfile.BadZipFile) as error:
        raise LiveRestoreError(f"Python cannot be put into the bundle ({error})", into) from None


def _version(names: Iterable[str], pattern: str) -> tuple[int, int] | None:
    """Return the version that names tell, 3.11 or newer; ``None`` where they tell none, or two."""
    found = {match.groups() for name in names if (match := re.match(pattern, name))}
    if len(found) != 1:
        return None
    major, minor = map(int, found.pop())
    return (major, minor) if (major, minor) >= (3, 11) else None


def _embeddable(source: PythonSource, into: Path) -> Placed:
    assert source.given is not None
    with zipfile.ZipFile(source.given) as files:
        if sum(info.file_size for info in files.infolist()) > _MOST_BYTES:
            raise UsageError("is larger than any Python", source.given, "download it again")
        for info in files.infolist():
            name = info.filename
            if "/" not in name and "\\" not in name and name not in ("", ".", ".."):
                (into / name).write_bytes(files.read(info))
    if not _is_amd64(into / "python.exe"):
        raise UsageError("is no 64-bit Python", source.given, "download the 64-bit one")
    major, minor = source.version
    # By itself an embeddable Python reads no site-packages. With this file beside it, it reads
    # nothing else: neither PYTHONPATH nor what the user installed.
    path_file = into / f"python{major}{minor}._pth"
    lines = [f"python{major}{minor}.zip", ".", r"Lib\site-packages", "import site", ""]
    path_file.write_bytes("\r\n".join(lines).encode("ascii"))
    packages = into / "Lib" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "live-restore.pth").write_text(_COMPILED_ELSEWHERE, "ascii", newline="\r\n")
    return Placed(packages, "64-bit Windows 10 or newer")


# A line that begins with "import" is run as it stands, and before that, an embeddable Python reads
# nothing but its zip. Without that variable nothing is kept: no folder can be made below NUL.
_COMPILED_ELSEWHERE = (
    "import os, sys; sys.pycache_prefix = os.path.join("
    'os.environ.get("LOCALAPPDATA", "NUL"), "live-restore", "Cache", "compiled")\n'
)


def _is_amd64(program: Path) -> bool:
    """Return whether a file is a program for 64-bit Windows.

    Source: "PE Format", sections "MS-DOS Stub" and "COFF File Header", learn.microsoft.com.
    """
    head = program.read_bytes()[:4096] if program.exists() else b""
    if len(head) < 0x40:
        return False
    (at,) = struct.unpack_from("<I", head, 0x3C)
    return head[at : at + 6] == b"PE\0\0" + struct.pack("<H", _AMD64)


def _relocatable(source: PythonSource, prefix: Path, into: Path) -> Placed:
    _copy_standard_library(prefix / "lib" / f"python{_dotted(source)}", into, source)
    for library in (prefix / "lib").glob("libpython*.so*"):
        if not library.is_symlink():
            shutil.copy2(library, into / "lib" / library.name)
    _start(prefix / "bin" / f"python{_dotted(source)}", into, source)
    return Placed(_site_packages(into, source), "64-bit x86 Linux, glibc as its Python needs it")


def _running(source: PythonSource, into: Path) -> Placed:
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    _copy_standard_library(standard, into, source)
    modules = into / "lib" / standard.name / "lib-dynload"
    libraries = sorted(set(_loaded_by([program, *modules.glob("*.so")])))
    for library in libraries:
        shutil.copy2(library.resolve(), into / "lib" / library.name)
    _start(program, into, source)
    needs = f"64-bit x86 Linux, glibc {system.libc_ver()[1]} or newer"
    return Placed(_site_packages(into, source), needs, tuple(libraries))


_START = """#!/bin/sh
# The libraries of this Python lie in ../lib. It reads no packages but its own: neither those that
# the user installed (-s) nor those that PYTHONPATH names (-E). It compiles into the user's cache.
case $0 in */*) here=${{0%/*}} ;; *) here=. ;; esac
export BUNDLE_OUTER_LIBRARIES="$LD_LIBRARY_PATH"
export LD_LIBRARY_PATH="$here/../lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
compiled="${{XDG_CACHE_HOME:-$HOME/.cache}}/live-restore/compiled"
exec "$here/python{}" -s -E -X "pycache_prefix=$compiled" "$@"
"""
_IN_PYTHON = '''"""What this process has loaded stays; what it starts loads its own."""

import os
import sys

if (outer := os.environ.pop("BUNDLE_OUTER_LIBRARIES", None)) is not None:
    # A browser must not get the libraries of this Python.
    os.environ.pop("LD_LIBRARY_PATH", None)
    if outer:
        os.environ["LD_LIBRARY_PATH"] = outer
# Our own children need them again.
sys.executable = os.path.join(os.path.dirname(sys.executable), "python3")
'''


def _start(program: Path, into: Path, source: PythonSource) -> None:
    """Put the program, and what it is started by, into place."""
    folder = into / "bin"
    folder.mkdir()
    shutil.copy2(program, folder / f"python{_dotted(source)}")
    (folder / "python3").write_text(_START.format(_dotted(source)), "ascii")
    (folder / "python3").chmod(0o755)
    standard = into / "lib" / f"python{_dotted(source)}"
    (standard / "sitecustomize.py").write_text(_IN_PYTHON, "ascii")


def _copy_standard_library(standard: Path, into: Path, source: PythonSource) -> None:
    def left_out(folder: str, names: list[str]) -> list[str]:
        extensions = Path(folder).name == "lib-dynload"
        return [
            name
            for name in names
            if name in _LEFT_OUT
            or name.startswith("config-")
            or (extensions and _LEFT_OUT_MODULES.match(name))
        ]

    target = into / "lib" / f"python{_dotted(source)}"
    shutil.copytree(standard, target, ignore=left_out)
    for path in target.glob("_sysconfigdata*.py"):
        path.write_text(without_paths(path.read_text("utf-8")), "utf-8")


def without_paths(text: str) -> str:
    """Return what Python knows of its own build, without the folders that it was built in.

    Examples
    --------
    >>> without_paths("build_time_vars = {'A': 1, 'B': '/home/somebody', 'EXT': '.so'}")
    "build_time_vars = {'A': 1, 'EXT': '.so'}\\n"
    """
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            values = ast.literal_eval(statement.value)
            kept = {name: value for name, value in values.items() if "/" not in str(value)}
            return f"build_time_vars = {kept!r}\n"
    return "build_time_vars = {}\n"


def _loaded_by(programs: Iterable[Path]) -> Iterator[Path]:
    """Yield the libraries that programs load, but for those that every Linux has.

    Raises
    ------
    LiveRestoreError
        The system does not tell, or one is missing.
    """
    try:
        done = subprocess.run(
            ["ldd", *map(str, programs)],  # noqa: S607 - where it lies differs
            capture_output=True, text=True, errors="replace", timeout=_LDD_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise LiveRestoreError(f"ldd does not tell what Python loads ({error})") from None
    for line in io.StringIO(done.stdout):
        name, arrow, rest = line.strip().partition(" => ")
        if not arrow or _OF_THE_SYSTEM.match(PurePosixPath(name).name):
            continue
        path = Path(rest.rpartition(" (")[0] or rest)
        if not path.is_absolute():
            raise LiveRestoreError(f"a library of this Python is missing: {name}", sys.executable)
        yield path


def _site_packages(into: Path, source: PythonSource) -> Path:
    return into / "lib" / f"python{_dotted(source)}" / "site-packages"


def _dotted(source: PythonSource) -> str:
    return ".".join(map(str, source.version))
