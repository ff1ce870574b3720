"""What this computer has: cores, names, memory."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from pathlib import Path

_NVIDIA_SMI_S = 10.0


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    import psutil

    process = psutil.Process()
    # None are told on macOS, and on Windows where a process has cores of several groups.
    allowed = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    return len(allowed or ()) or os.cpu_count() or 1


def cpu_name() -> str:
    """Return the processor's name, as far as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_memory_bytes() -> int:
    """Return the main memory that programs could still have without swapping (bytes)."""
    import psutil

    return int(psutil.virtual_memory().available)


def nvidia_gpu(index: int) -> tuple[str, int]:
    """Return the name of an NVIDIA GPU and its free memory (bytes); 0 where it is not known."""
    name, _, free_mib = _nvidia_smi(index, "name,memory.free").rpartition(",")
    return name.strip() or f"NVIDIA GPU {index}", _mib(free_mib) << 20


def nvidia_card(index: int) -> str:
    """Return the name and the driver of an NVIDIA GPU: with another of either, measure anew."""
    try:
        return _named_card(index)
    except LookupError:
        return f"NVIDIA GPU {index}"


@functools.cache  # what was raised is not kept: the tool may answer the next time
def _named_card(index: int) -> str:
    name, _, driver = _nvidia_smi(index, "name,driver_version").rpartition(",")
    if not name:
        raise LookupError(index)
    return f"{name.strip()}, driver {driver.strip()}"


def _nvidia_smi(index: int, query: str) -> str:
    """Return what the driver's own tool says: ONNX Runtime knows nothing of it; "": nothing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        asked = subprocess.run(
            [tool, f"--id={index}", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return asked.stdout.strip()


def _mib(text: str) -> int:
    try:
        return max(0, int(text))
    except ValueError:  # "[N/A]" where the memory is the processor's
        return 0
