"""Modules that are imported when a test first uses them.

Collecting the workshop's tests with torch took twice the processor time of collecting them without.
"""

from __future__ import annotations

import importlib
from typing import Any


class _Deferred:
    """Stands for a module; asking for one of its attributes, or setting it, imports the module."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, attribute: str) -> Any:
        # pytest looks for marks and fixtures in everything that a test module holds.
        if attribute.startswith(("_", "pytest")):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(importlib.import_module(self._name), attribute, value)


def deferred(name: str) -> Any:
    """Return what stands for the module ``name``, for ``monkeypatch.setattr`` too."""
    return _Deferred(name)
