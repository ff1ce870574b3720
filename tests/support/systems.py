"""What one computer has and another has not: marks, and skips, with their reasons."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

WINDOWS = sys.platform == "win32"
WINE = False
if sys.platform == "win32":
    import ctypes

    # Wine alone has this function.
    WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


def without_chatter(said: str) -> str:
    """Return standard error without what libraries say there under Wine, and nowhere else.

    ONNX Runtime for Windows looks for GPUs as soon as it is loaded, by means that Wine lacks.
    """
    return said.replace("Failed to create DXGI factory.\n", "") if WINE else said


def needs_packages(*names: str, reason: str) -> None:
    """Skip a module where a package is not installed; none is imported to find out.

    Every worker collects all tests, and each of these packages takes a second or more to import.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(reason, allow_module_level=True)


def needs_acquisitions() -> None:
    """Skip a module where nothing is installed that acquires."""
    needs_packages(
        "pycromanager",
        "pymmcore_plus",
        "mm_test_adapters",
        "tensorstore",
        reason="pip install 'live-restore[micromanager]'",
    )


posix = pytest.mark.skipif(WINDOWS, reason="of systems that are not Windows")
needs_links = pytest.mark.skipif(WINDOWS, reason="on Windows only administrators may make links")
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
needs_signals = pytest.mark.skipif(
    WINDOWS, reason="on Windows a signal from outside only kills a process"
)
needs_byte_names = pytest.mark.skipif(WINDOWS, reason="names are always text on Windows")
