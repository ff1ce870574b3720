"""Values from other programs' metadata: anything may be in them. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any

NOISE_RATIO = 200
"""How much images from a camera shrink at most, for a limit. Their noise alone keeps deflate and
zstd to about 2; masks and simulations without noise reach 100."""
BEARABLE_BYTES = 256 * 2**20
"""What may be unpacked without asking: at the formats' best ratios this is 8 kB of zeros."""


def bearable_bytes(stored_bytes: int) -> int:
    """Return how much image data may come out of so many stored bytes.

    Every compression shrinks zeros by a thousand or more, so that what its format allows is no
    limit: 30 kB could ask for a gigabyte of memory.

    Examples
    --------
    >>> bearable_bytes(0) // 2**20, bearable_bytes(10 * 2**20) // 2**20
    (256, 2256)
    """
    return BEARABLE_BYTES + NOISE_RATIO * stored_bytes


MAX_JSON_DEPTH = 200
"""Micro-Manager's and pymmcore-plus's metadata nest to about ten."""
MAX_JSON_CONTAINERS = 1_000_000
MAX_JSON_VALUES = 4_000_000
"""Objects and lists, and values in them: an empty object takes 3 bytes of text and 72 of memory."""

_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


class NotJsonError(Exception):
    """A text is no JSON object; while it is being written that is nothing unusual."""


def json_object(data: bytes | str) -> dict[str, Any]:
    """Return a JSON object; the caller has bounded its size.

    Raises
    ------
    NotJsonError
        It is something else, or torn, or nested without end, or of more parts than any has.

    Examples
    --------
    >>> json_object(b'{"a": [1]}\\0')
    {'a': [1]}
    """
    try:
        text = data.rstrip(b"\0 \r\n\t").decode() if isinstance(data, bytes) else data
        require_bearable_json(text)
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error
    if not isinstance(value, dict):
        raise NotJsonError("no object")
    return value


def require_bearable_json(text: str) -> None:
    """Raise ``ValueError`` for JSON that nests deeper, or has more parts, than any has.

    Whoever prints or compares a value goes as deep as it nests, so that the parser's own limit,
    which is that of the interpreter, is none.

    Examples
    --------
    >>> require_bearable_json("[" * 201)
    Traceback (most recent call last):
    ValueError: nests deeper than 200
    >>> require_bearable_json('["' + "[" * 201 + '"]')
    """
    containers = text.count("[") + text.count("{")
    if containers <= MAX_JSON_DEPTH:
        return
    if containers > MAX_JSON_CONTAINERS or text.count(",") > MAX_JSON_VALUES:
        raise ValueError("has more parts than any metadata")
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _JSON_STRING.sub("", text)):
        depth += _STEPS[bracket]
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"nests deeper than {MAX_JSON_DEPTH}")


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
    """Return a finite number above zero (Micro-Manager writes 0 for what nobody set).

    Examples
    --------
    >>> positive("0.15"), positive(0), positive("nan"), positive("x"), positive(-1)
    (0.15, None, None, None, None)
    """
    result = number(value)
    return result if result is not None and result > 0 else None


def text(value: object, limit: int = 200) -> str:
    """Return a label: text of at most ``limit`` characters, empty where there is none."""
    return value[:limit] if isinstance(value, str) else ""
