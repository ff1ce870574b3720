"""Values from other programs' metadata: anything may be in them. Pure."""

from __future__ import annotations

import json
import math
from typing import Any


class NotJsonError(Exception):
    """A text is no JSON object; while it is being written that is nothing unusual."""


def json_object(data: bytes | str) -> dict[str, Any]:
    """Return a JSON object; the caller has bounded its size.

    Raises
    ------
    NotJsonError
        It is something else, or torn, or nested without end.
    """
    try:
        text = data.rstrip(b"\0 \r\n\t").decode() if isinstance(data, bytes) else data
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error
    if not isinstance(value, dict):
        raise NotJsonError("no object")
    return value


def number(value: object) -> float | None:
    """Return a finite number; Micro-Manager writes some as text.

    Examples
    --------
    >>> number("1.5"), number(2), number("x"), number(True), number(float("nan"))
    (1.5, 2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def integer(value: object) -> int | None:
    """Return an index or a count, 0 to 2**31 - 1.

    Examples
    --------
    >>> integer(3), integer("3"), integer(-1), integer(1.5), integer(2**31)
    (3, 3, None, None, None)
    """
    result = number(value)
    if result is None or result != int(result) or not 0 <= result < 2**31:
        return None
    return int(result)


def positive(value: object) -> float | None:
    """Return a number above zero (Micro-Manager writes 0 for a pixel size that nobody set)."""
    result = number(value)
    return result if result is not None and result > 0 else None


def text(value: object, limit: int = 200) -> str:
    """Return a label: text of at most ``limit`` characters, empty where there is none."""
    return value[:limit] if isinstance(value, str) else ""
