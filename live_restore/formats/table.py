"""The formats there are, one line each; the first that claims a file has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from live_restore.formats.base import Format
from live_restore.formats.tiff import TiffFormat
from live_restore.formats.tiff_layout import UndeclaredAxis

FORMATS: dict[str, Callable[[UndeclaredAxis], Format]] = {
    "tiff": lambda undeclared_axis: TiffFormat(undeclared_axis=undeclared_axis),
}


def make_formats(*, undeclared_axis: UndeclaredAxis = "Z") -> tuple[Format, ...]:
    """Return one of each format, most particular first."""
    return tuple(make(undeclared_axis) for make in FORMATS.values())


def format_for(path: Path, formats: Sequence[Format]) -> Format | None:
    """Return the format whose business a file of this name is, ``None`` if nobody's."""
    return next((each for each in formats if each.claims(path)), None)
