"""What a person starts in the folder of a bundle (pure texts).

Every script finds the program folder beside itself, wherever that is: none holds a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from live_restore.bundle.packages import Platform

_Pause = Literal["never", "failed", "always"]
PROGRAM_PREFIX = "app-"
"""How program folders begin; two versions lie beside each other until somebody deletes the old."""
# Beside "uninstall", which deletes them all: an older bundle may have had a page.
_NAMES = ("live-restore", "demo", "doctor", "watch", "page", "update")


def scripts(platform: Platform, program: str, choices: Sequence[str]) -> dict[str, str]:
    """Return the scripts beside a program folder: their names, and what is in them.

    Parameters
    ----------
    platform
        What they run on.
    program
        Name of the program folder.
    choices
        What the bundle holds; without "page" none opens one.
    """
    page = "page" in choices
    make = _windows if platform == "windows" else _linux
    return make(program, page)


def read_me(platform: Platform, version: str) -> str:
    """Return what a person reads first."""
    windows = platform == "windows"
    end, shell = (".cmd", "double-click") if windows else ("", "double-click, or in a terminal")
    return f"""live-restore {version}: restores low-light microscope stacks while they arrive.

Nothing is installed and nothing is fetched: this folder is all of it. Start here ({shell}):

  doctor{end}        is this computer ready? what is missing, and what to do about it
  demo{end}          a simulated time-lapse is restored, and its page opens in the browser
  watch{end}         asks for a folder and restores what arrives there, until its window is closed
  page{end}          asks for a folder and shows what became of its stacks
  live-restore{end}  all commands, in a terminal: live-restore --help
  update{end}        after a newer bundle was unpacked over this one: services go over to it
  uninstall{end}     removes the services and this program, and names what stays

Inside the folder {PROGRAM_PREFIX}...: licences/ (of everything), sbom.cdx.json, requirements.lock,
SHA256SUMS (live-restore bundle --verify, or: sha256sum --check SHA256SUMS).
"""


def _windows(program: str, page: bool) -> dict[str, str]:
    python = f'"%~dp0{program}\\python\\python.exe" -P -m live_restore'
    # A folder is given as D:\.: the quote after a last backslash would be taken for a character.
    ask = """set "folder=%~1"
if not defined folder set /p "folder=Folder of the microscope (or drop it on this file): "
if not defined folder exit /b 2
set "folder=%folder:"=%"
"""
    beside = " --page 127.0.0.1:0" if page else ""
    shown: _Pause = "failed" if page else "always"
    bodies = {
        # All on one line, here and below: cmd goes on reading where the line ended, which would be
        # in the middle of another one after an update has replaced the file.
        "live-restore": f"{python} %* & {_end('never')}",
        "demo": f'{python} demo{beside} --out "%USERPROFILE%" %* & {_end(shown)}',
        "doctor": f"{python} doctor %* & {_end('always')}",
        "watch": f'{ask}{python} watch "%folder%\\."{beside} & {_end("failed")}',
        "update": f"{python} bundle --update & {_end('always')}",
        "uninstall": f"""set "top=%~dp0"
set "answer="
set /p "answer=Remove live-restore, its services included? [y/N] "
if /i not "%answer%"=="y" exit /b 1
{python} bundle --uninstall
if not %errorlevel%==0 (
  pause
  exit /b 1
)
pause
cd /d "%~dp0"
if not exist "{program}\\python" exit /b 1
for /d %%d in ({PROGRAM_PREFIX}*) do rmdir /s /q "%%d"
cd /d "%TEMP%"
for %%f in ({" ".join(f"{name}.cmd" for name in _NAMES)} READ-ME.txt) do del "%~dp0%%f" 2>nul
(del "%~f0" & rmdir "%top:~0,-1%" 2>nul) & exit /b 0""",
    }
    if page:
        bodies["page"] = f'{ask}{python} page "%folder%\\." --open --port 0 & {_end("failed")}'
    return {
        f"{name}.cmd": f"@echo off\nsetlocal\n{body}\n".replace("\n", "\r\n")
        for name, body in bodies.items()
    }


def _end(pause: _Pause) -> str:
    """Go on after the program on its own line: keep its window open or not, end with its exit code.

    `exit /b` alone would end with 0, and a plain %errorlevel% is read before the program runs:
    "call" reads it again. Before that "!" is not special, since the name of a file may hold it.
    """
    pauses = {"never": "", "failed": "(if not !code!==0 pause) & ", "always": "pause & "}
    code = 'call set "code=%%errorlevel%%" & setlocal enabledelayedexpansion'
    return f"{code} & {pauses[pause]}exit /b !code!"


def _linux(program: str, page: bool) -> dict[str, str]:
    head = f"""#!/bin/sh
here=$(cd -- "$(dirname -- "$0")" && pwd) || exit 1
python="$here/{program}/python/bin/python3"
"""
    run = '"$python" -P -m live_restore'
    ask = """folder=$1
if [ -z "$folder" ]; then
    printf 'Folder of the microscope: '
    read -r folder
fi
[ -n "$folder" ] || exit 2
"""
    beside = " --page 127.0.0.1:0" if page else ""
    bodies = {
        # exec: the shell would go on reading, in another file after an update has replaced it.
        "live-restore": f'exec {run} "$@"',
        "demo": f'exec {run} demo{beside} --out "$HOME" "$@"',
        "doctor": f'exec {run} doctor "$@"',
        "watch": f'{ask}exec {run} watch "$folder"{beside}',
        "update": f"exec {run} bundle --update",
        "uninstall": f"""printf 'Remove live-restore, its services included? [y/N] '
read -r answer
[ "$answer" = y ] || exit 1
{run} bundle --uninstall || exit 1
for each in "$here"/{PROGRAM_PREFIX}*; do [ -L "$each" ] || rm -rf -- "$each"; done
cd "$here" && rm -f -- {" ".join(_NAMES)} uninstall READ-ME.txt
cd / && rmdir -- "$here" 2>/dev/null
exit 0""",
    }
    if page:
        bodies["page"] = f'{ask}exec {run} page "$folder" --open --port 0'
    return {name: f"{head}{body}\n" for name, body in bodies.items()}
