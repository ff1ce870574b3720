"""Protocol buffers, in which ONNX files are: their fields, read and written. Pure.

Enough to look into a model, and to set others of its fields, without the package ``onnx``, which no
instrument PC needs. https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


class NotProtobufError(ValueError):
    """It is no message, or one that was cut off."""


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    """Yield the fields of a message: number, what it holds, and all its bytes.

    What it holds is a whole number or bytes.

    Raises
    ------
    NotProtobufError
        It is none.

    Examples
    --------
    >>> message = field(1, 300) + field(2, b"abc")
    >>> [(n, v if isinstance(v, int) else bytes(v)) for n, v, _ in fields(memoryview(message))]
    [(1, 300), (2, b'abc')]
    """
    at = 0
    while at < len(data):
        began = at
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value, data[began:at]
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if wire == _EIGHT_BYTES else 4
        else:
            raise NotProtobufError
        if length > len(data) - at:
            raise NotProtobufError
        yield key >> 3, data[at : at + length], data[began : at + length]
        at += length


def field(number: int, value: int | bytes | str) -> bytes:
    """Return a field: a whole number from 0, or bytes, a text or a message."""
    if isinstance(value, int):
        return _as_varint(number << 3 | _VARINT) + _as_varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(content)) + content


def message(value: int | memoryview) -> memoryview:
    """Return the bytes that a field holds; raises ``NotProtobufError`` where it is a number."""
    if isinstance(value, int):
        raise NotProtobufError
    return value


def text(value: int | memoryview) -> str:
    """Return the text that a field holds.

    Raises ``NotProtobufError`` where it is a number, and ``UnicodeDecodeError``.
    """
    return bytes(message(value)).decode()


def varints(data: memoryview) -> Iterator[int]:
    """Yield whole numbers that stand one after the other; raises ``NotProtobufError``.

    Examples
    --------
    >>> list(varints(memoryview(bytes([1, 0xAC, 2]))))
    [1, 300]
    """
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise NotProtobufError


def _as_varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
