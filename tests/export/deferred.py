"""Modules that are imported when a test first uses them.

Collecting the workshop's tests took 6.1 s of processor time with torch and 3.9 s without it (two
cores of a Xeon, 2026-11-28).
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


class _Deferred:
    """Stands for a module; asking for one of its attributes imports it."""

    __slots__ = ("_name",)  # so that setting anything else fails

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        # pytest looks for marks and fixtures in everything that a test module holds.
        if attribute.startswith(("_", "pytest")) and self._name not in sys.modules:
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)


def deferred(name: str) -> Any:
    """Return what stands for the module ``name``.

    It can be read, not set: ``monkeypatch.setattr`` takes the path as text instead.
    """
    return _Deferred(name)
