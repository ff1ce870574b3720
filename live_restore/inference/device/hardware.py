"""What this computer has: cores, names, memory."""

from __future__ import annotations

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
    """Return the name of an NVIDIA GPU and its free memory (bytes); 0 where it is not known.

    The driver's own tool is asked: ONNX Runtime knows neither.
    """
    unknown = (f"NVIDIA GPU {index}", 0)
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return unknown
    try:
        asked = subprocess.run(
            [tool, f"--id={index}", "--query-gpu=name,memory.free",
             "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=_NVIDIA_SMI_S, check=True,
        )  # fmt: skip
        name, _, free_mib = asked.stdout.strip().rpartition(",")
        return name.strip() or unknown[0], int(free_mib) << 20
    except (OSError, subprocess.SubprocessError, ValueError):
        return unknown
