"""Mutations of bytes, of JSON and of other structured text; deterministic by their generator.

Few random bytes, many wrong numbers: a reader is hurt by a count, an offset, a size, a depth or a
type that it believes.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

NUMBERS: tuple[int, ...] = (
    0, 1, 2, 3, 7, 8, 16, 127, 255, 256, 4096, 32767, 65535, 65536, 100_000, 999_999, 1_000_000,
    2**24, 2**31 - 2, 2**31 - 1, 2**31, 2_000_000_000, 2**32 - 8, 2**32 - 1, 2**32, 2**53, 2**62,
    2**63 - 1, 2**63, 2**64 - 1, -1, -2, -(2**31), -(2**63),
)  # fmt: skip

TEXTS: tuple[str, ...] = (
    "", " ", ".", "..", "../../x", "/etc/passwd", "//server/share/x", "\\\\server\\share\\x",
    "C:\\x", "C:x", "..\\..\\x",
    "CON", "NUL.tif", "aux", "com1.txt", "x.", "x ", "a\0b", "\n", "\x1b[2J",
    "\u202e", "\ud800", "\ufeff", "{folder}", "{0.__class__}", "%s%n", "$(touch x)", "a/b/c", "0/0",
    "~", "~root", "http://127.0.0.1/x", "file:///etc/passwd", "x" * 300, "y" * 100_000, "1e999",
    "NaN", "-Infinity", "1_000", "0x10", "1:1:1", "\u0663", "true", "null",
)  # fmt: skip


def number(rng: random.Random) -> int:
    """Return a number that somebody may not have thought of."""
    if rng.random() < 0.8:
        return rng.choice(NUMBERS)
    return rng.getrandbits(rng.choice((8, 16, 31, 32, 48, 64)))


def damage(rng: random.Random, data: bytes, limit: int = 65536) -> bytes:
    """Return ``data`` after one change of its first ``limit`` bytes."""
    if not data:
        return bytes(rng.randrange(64))
    at = rng.randrange(min(len(data), limit))
    end = min(len(data), at + rng.choice((1, 2, 4, 16, 64, 512)))
    changed = bytearray(data)
    what = rng.randrange(9)
    if what == 0:
        changed[at] ^= 1 << rng.randrange(8)
    elif what == 1:
        changed[at] = rng.randrange(256)
    elif what == 2:
        width = rng.choice((2, 4, 8))
        value = number(rng) % (1 << 8 * width)
        changed[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
    elif what == 3:
        del changed[at:]
    elif what == 4:
        del changed[at:end]
    elif what == 5:
        changed[at:at] = changed[at:end] * rng.choice((1, 2, 100))
    elif what == 6:
        changed[at:end] = bytes(end - at)
    elif what == 7:
        changed[at:end] = b"\xff" * (end - at)
    else:
        other = rng.randrange(min(len(data), limit))
        changed[at:end] = data[other : other + end - at]
    return bytes(changed)


_LONG = 4000
"""Characters of a value that is not made a thousand times as long."""

# JSON -------------------------------------------------------------------------------------------


def _odd_value(rng: random.Random, old: Any) -> Any:
    choice = rng.randrange(15)
    if choice < 5:
        return number(rng)
    if choice < 7:
        return rng.choice(TEXTS)
    if choice == 7:
        return rng.choice((None, True, False, [], {}, [[]], [None], {"": {}}))
    if choice == 8:
        return rng.choice((float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, -0.0, 0.5))
    if choice == 9:
        return str(old)[:1000]
    if choice == 10:
        few = len(str(old)) > _LONG
        return [old] * rng.choice((0, 1, 2, 3 if few else 17, 4 if few else 1000))
    if choice == 11:
        return {"name": old, "path": rng.choice(TEXTS)}
    if choice == 12:
        return 10 ** rng.choice((19, 40, 400))
    if choice == 13 and isinstance(old, list):
        return old[::-1] if rng.random() < 0.5 else old * 2
    if isinstance(old, (int, float)) and not isinstance(old, bool):
        return old + rng.choice((-1, 1)) if rng.random() < 0.5 else -old
    return rng.choice(TEXTS)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place] if place else []
    if isinstance(value, dict):
        for key in value:
            found += _places(value[key], (*place, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 8)):
            found += _places(value[index], (*place, index))
    return found


def mutate_value(rng: random.Random, value: Any) -> Any:
    """Return a JSON value after one change somewhere in it."""
    value = json.loads(json.dumps(value))
    places = _places(value)
    if not places or rng.random() < 0.02:
        return _odd_value(rng, value)
    *above, last = rng.choice(places)
    holder = value
    for part in above:
        holder = holder[part]
    what = rng.random()
    if what < 0.15:
        del holder[last]
    elif what < 0.25 and isinstance(holder, dict):
        holder[rng.choice((*TEXTS[:12], str(last).upper(), "axes", "shape"))] = holder.pop(last)
    elif what < 0.3:
        far = rng.choice(places)
        other = value
        for part in far:
            other = other[part]
        # By its text: a copy, and never a value inside itself.
        holder[last] = json.loads(json.dumps(other))
    else:
        holder[last] = _odd_value(rng, holder[last])
    return value


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """Return a JSON text after one change of its meaning or of its letters."""
    if rng.random() < 0.75 and len(data) < 50 * _LONG:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return mutate_text(rng, data)
        return json.dumps(mutate_value(rng, value), ensure_ascii=rng.random() < 0.5).encode(
            errors="surrogatepass"
        )
    return mutate_text(rng, data)


_SWAPS: tuple[Callable[[random.Random], bytes], ...] = (
    lambda rng: str(number(rng)).encode(),
    lambda rng: rng.choice(TEXTS).encode(errors="surrogatepass"),
    lambda rng: b"[" * rng.choice((1, 100, 20_000)),
    lambda rng: b'{"a":' * rng.choice((1, 100, 20_000)),
    lambda rng: b"9" * rng.choice((20, 400, 5000)),
    lambda rng: rng.choice((b"NaN", b"Infinity", b"1e999", b"-0", b"null", b"{}", b"[]", b'"')),
    lambda rng: bytes(rng.randrange(256) for _ in range(4)),
    lambda rng: rng.choice((b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\0", b"\xef\xbb\xbf")),
)

_TOKEN = re.compile(rb'"[^"\\]{0,200}"|-?\d[\d.eE+-]*|[\[\]{}:,]|\w+')


def mutate_text(rng: random.Random, data: bytes) -> bytes:
    """Return structured text after one change of a word, a number, a bracket or a line."""
    if rng.random() < 0.2:
        return damage(rng, data)
    tokens = list(_TOKEN.finditer(data[:20_000]))
    if not tokens:
        return damage(rng, data)
    token = rng.choice(tokens)
    start, end = token.span()
    what = rng.random()
    if what < 0.6:
        put = rng.choice(_SWAPS)(rng)
        if token.group().startswith(b'"') and rng.random() < 0.7:
            put = b'"' + put + b'"'
    elif what < 0.7:
        put = token.group() * rng.choice((2, 3, 1000))
    elif what < 0.8:
        put = b""
    elif what < 0.9:  # once more, from here to somewhere: duplicate keys, unbalanced brackets
        other = rng.choice(tokens)
        put = data[start : max(end, other.end())][:4000] + token.group()
    else:
        put = rng.choice(tokens).group()
    return data[:start] + put + data[end:]
