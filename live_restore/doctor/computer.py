"""How the computer is set up: driver, sleep, clock, long paths, scanners, telemetry.

What decides takes what the system answered, so that it can be tried anywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from live_restore.doctor.finding import Finding, answer
from live_restore.files.windows import long_paths_enabled

# NVIDIA's release notes of CUDA: the oldest driver that runs programs of each major version.
_OLDEST_DRIVER = {12: {"linux": 525, "win32": 528}, 13: {"linux": 580, "win32": 580}}
# Tiles shrink with the memory, and small ones cost time: half of it is left to the desktop.
_FREE_SHARE = 0.5
# FILE_ATTRIBUTE_NOT_CONTENT_INDEXED
_NOT_INDEXED = 0x2000


def examine_computer(folders: Sequence[Path]) -> Iterator[Finding]:
    """Check the computer; ``folders`` are those that are written to much."""
    yield from _driver()
    yield sleep_finding(_sleep_s())
    yield clock_finding(_clock_set())
    if sys.platform == "win32":
        yield long_paths_finding(enabled=long_paths_enabled())
        yield antivirus_finding(folders, _defender_exclusions())
        yield indexing_finding([f for f in folders if _is_indexed(f)])
    yield telemetry_finding(os.environ.get("ORT_DISABLE_TELEMETRY", ""))


def _driver() -> Iterator[Finding]:
    from onnxruntime.capi import build_and_package_info

    tool = shutil.which("nvidia-smi")
    asked = "--query-gpu=driver_version,memory.free,memory.total"
    told = tool and answer(tool, asked, "--format=csv,noheader,nounits")
    gpus = [line.split(", ") for line in (told or "").splitlines() if line.strip()]
    if gpus:
        cuda = str(getattr(build_and_package_info, "cuda_version", "") or "")
        yield driver_finding(gpus[0][0], cuda, sys.platform)
    for number, (_, *memory) in enumerate(gpus):
        if len(memory) == 2 and all(map(str.isdecimal, memory)):
            yield gpu_memory_finding(number, *(int(each) / 1024 for each in memory))


def driver_finding(driver: str, cuda: str, platform: str) -> Finding:
    """Judge the version of an NVIDIA driver by that of the CUDA that the runtime is built for."""
    found = f"NVIDIA driver {driver}, runtime built for CUDA {cuda or 'none'}"
    numbers = re.match(r"\d+", driver), re.match(r"\d+", cuda)
    if numbers[0] and numbers[1]:
        oldest = _OLDEST_DRIVER.get(int(numbers[1][0]), {}).get(platform, 0)
        if int(numbers[0][0]) < oldest:
            remedy = f"install NVIDIA's driver {oldest} or newer"
            return Finding("GPU driver", "bad", f"{found}, which needs {oldest} or newer", remedy)
        return Finding("GPU driver", "good", found)
    remedy = "install live-restore with its extra cuda to use the GPU"
    return Finding("GPU driver", "note", found, remedy)


def gpu_memory_finding(number: int, free_gb: float, total_gb: float) -> Finding:
    """Judge how much of a GPU's memory other programs have taken (GB)."""
    found = f"cuda:{number}: {free_gb:.1f} of {total_gb:.1f} GB free"
    if free_gb < _FREE_SHARE * total_gb:
        remedy = "close the program that has the rest, or set inference.gpu_memory_gb to less"
        return Finding("GPU memory", "note", found, remedy)
    return Finding("GPU memory", "good", found)


def sleep_finding(idle_s: int | None) -> Finding:
    """Judge after how long alone the computer sleeps (s); 0: never; ``None``: unknown."""
    if idle_s is None:
        remedy = "switch it off in the system's settings of power"
        return Finding("sleep", "note", "this system does not say when it sleeps", remedy)
    if idle_s == 0:
        return Finding("sleep", "good", "never while it is plugged in")
    remedy = (
        "powercfg /change standby-timeout-ac 0"
        if sys.platform == "win32"
        else "gsettings set org.gnome.settings-daemon.plugins.power sleep-inactive-ac-type nothing"
    )
    return Finding("sleep", "note", f"after {idle_s // 60} minutes without anybody there", remedy)


def _sleep_s() -> int | None:
    if sys.platform == "win32":
        return seconds_of_powercfg(
            answer("powercfg", "/query", "SCHEME_CURRENT", "SUB_SLEEP", "STANDBYIDLE") or ""
        )
    power = "org.gnome.settings-daemon.plugins.power"
    kind = answer("gsettings", "get", power, "sleep-inactive-ac-type")
    if kind is None:
        return None
    if "nothing" in kind:
        return 0
    after = answer("gsettings", "get", power, "sleep-inactive-ac-timeout") or ""
    return int(after) if after.strip().isdecimal() else None


def seconds_of_powercfg(text: str) -> int | None:
    """Return the time that ``powercfg /query`` prints for mains power (s).

    Its words are in the language of the system; the last two hexadecimal numbers are mains and
    battery.

    Examples
    --------
    >>> seconds_of_powercfg("Min: 0x00000000\\nAC: 0x00000708\\nDC: 0x00000384\\n")
    1800
    """
    numbers = re.findall(r"0x([0-9a-fA-F]{8})\b", text)
    return int(numbers[-2], 16) if len(numbers) >= 2 else None


def clock_finding(is_set: bool | None) -> Finding:
    """Judge whether the clock is set by a time server; ``None``: unknown."""
    if is_set is None:
        remedy = "compare it with another one"
        return Finding("clock", "note", "this system does not say who sets it", remedy)
    if is_set:
        return Finding("clock", "good", "set by a time server")
    remedy = (
        'switch on "Set time automatically", or: w32tm /resync'
        if sys.platform == "win32"
        else "timedatectl set-ntp true"
    )
    return Finding("clock", "note", "set by nobody: times in reports may be wrong", remedy)


def _clock_set() -> bool | None:
    if sys.platform == "win32":
        if shutil.which("w32tm") is None:
            return None
        return answer("w32tm", "/query", "/status") is not None
    told = answer("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return None if told is None else told.strip() == "yes"


def long_paths_finding(*, enabled: bool) -> Finding:
    """Judge whether Windows opens paths of more than 259 characters."""
    if enabled:
        return Finding("long paths", "good", "enabled")
    remedy = (
        "as an administrator, in PowerShell: Set-ItemProperty "
        r"HKLM:\SYSTEM\CurrentControlSet\Control\FileSystem LongPathsEnabled 1"
    )
    return Finding("long paths", "note", "files deep in folders cannot be opened", remedy)


def antivirus_finding(folders: Sequence[Path], excluded: Sequence[str] | None) -> Finding:
    """Judge which folders Microsoft Defender scans; ``excluded`` is ``None`` if it does not say."""
    lower = [each.lower().rstrip("\\") for each in excluded or ()]
    scanned = [
        f for f in folders if not any(str(p).lower() in lower for p in (f, *f.parents))
    ]  # fmt: skip
    if not scanned:
        return Finding("antivirus", "good", "leaves the folders alone")
    named = ", ".join(f"'{folder}'" for folder in scanned)
    found = "tells only administrators what it leaves out" if excluded is None else "scans them all"
    return Finding(
        "antivirus", "note", f"{found}: {named}",
        f"as an administrator, in PowerShell: Add-MpPreference -ExclusionPath {named}",
    )  # fmt: skip


def _defender_exclusions() -> list[str] | None:
    if sys.platform == "win32":
        import winreg

        key = r"SOFTWARE\Microsoft\Windows Defender\Exclusions\Paths"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                return [
                    winreg.EnumValue(opened, number)[0]
                    for number in range(winreg.QueryInfoKey(opened)[1])
                ]
        except OSError:
            return None
    return None


def indexing_finding(indexed: Sequence[Path]) -> Finding:
    """Judge which folders Windows Search reads as soon as a file is written."""
    if not indexed:
        return Finding("indexing", "good", "leaves the folders alone")
    commands = "; ".join(f'attrib +I "{folder}" /S /D' for folder in indexed)
    named = ", ".join(map(str, indexed))
    return Finding("indexing", "note", f"Windows Search may read every file in {named}", commands)


def _is_indexed(folder: Path) -> bool:
    try:
        attributes = getattr(folder.stat(), "st_file_attributes", _NOT_INDEXED)
    except OSError:
        return False
    return not attributes & _NOT_INDEXED


def telemetry_finding(variable: str) -> Finding:
    """Judge whether ONNX Runtime reports to its maker: ``ORT_DISABLE_TELEMETRY`` as it is set."""
    if variable == "1":
        return Finding("telemetry", "good", "off: nothing is reported to anybody")
    remedy = "unset ORT_DISABLE_TELEMETRY, so that live-restore sets it"
    return Finding("telemetry", "bad", f"ORT_DISABLE_TELEMETRY is {variable!r}", remedy)
