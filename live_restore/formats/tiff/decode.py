"""Turns one plane's strips or tiles into pixels.

Sizes come from the structure that was checked against the file's real size, never from the
compressed bytes: decoders write into buffers of a known size and stop there.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedIOBase
from typing import BinaryIO, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from live_restore.formats.tiff.page import Page
from live_restore.formats.tiff.tags import (
    REVERSED_BITS,
    ByteOrder,
    Compression,
    Predictor,
    SampleFormat,
)

_DECODERS: dict[int, Callable[..., bytes | bytearray]] = {
    Compression.LZW: imagecodecs.lzw_decode,
    Compression.DEFLATE: imagecodecs.zlib_decode,
    Compression.OLD_DEFLATE: imagecodecs.zlib_decode,
    Compression.PACKBITS: imagecodecs.packbits_decode,
    Compression.LZMA: imagecodecs.lzma_decode,
    Compression.OLD_ZSTD: imagecodecs.zstd_decode,
    Compression.ZSTD: imagecodecs.zstd_decode,
}

COMPRESSIONS = frozenset({Compression.NONE, *_DECODERS})
"""What is decoded."""

_KINDS: dict[int, str] = {
    SampleFormat.UNSIGNED: "uint",
    SampleFormat.SIGNED: "int",
    SampleFormat.FLOAT: "float",
    SampleFormat.COMPLEX_INTEGER: "complex int",
    SampleFormat.COMPLEX: "complex",
}

_SEGMENT_SLACK = 65536


class DecodeError(Exception):
    """A plane's stored bytes are damaged; the message says how."""


def dtype_name(page: Page) -> str:
    """Return the name of a page's sample type, such as ``"uint16"``; "12-bit" where odd."""
    if page.bits not in (8, 16, 32, 64, 128):
        return f"{page.bits}-bit"
    return f"{_KINDS.get(page.sample_format, 'unknown ')}{page.bits}"


def read_plane(
    stream: BinaryIO,
    page: Page,
    byte_order: ByteOrder,
    dtype: np.dtype[np.generic],
    into: NDArray[np.generic] | None = None,
) -> NDArray[np.generic]:
    """Return one plane (Y, X), native byte order.

    Parameters
    ----------
    stream
        The open file.
    page
        A page of one sample per pixel whose bits are those of ``dtype``.
    byte_order
        "<" or ">".
    dtype
        Native type of the result.
    into
        (Y, X) of that type: where the plane is to be read to; ``None``: an array of its own.

    Raises
    ------
    DecodeError
        Its bytes are damaged or are gone.
    """
    plane = np.empty((page.height, page.width), dtype) if into is None else into
    as_it_is = (
        page.compression == Compression.NONE
        and page.predictor not in (Predictor.FLOATING_POINT, Predictor.HORIZONTAL)
        and dtype.newbyteorder(byte_order) == dtype
    )
    rows, columns = page.segment_height, page.segment_width
    across = -(-page.width // columns)
    for number, (offset, count) in enumerate(zip(page.offsets, page.counts, strict=True)):
        top, left = number // across * rows, number % across * columns
        # Strips end with the plane; tiles are always whole and hang over its edges.
        height = rows if page.tiled else min(rows, page.height - top)
        part = plane[top : top + height, left : left + columns]
        stream.seek(offset)
        whole = part.shape == (height, columns) and part.flags.c_contiguous
        if as_it_is and whole and count >= part.nbytes:
            # To where it belongs: two copies less.
            got = cast("BufferedIOBase", stream).readinto(part.data.cast("B"))
            if got < part.nbytes:
                raise DecodeError(f"{part.nbytes - got} of its bytes are gone")
            continue
        needed = height * columns * dtype.itemsize
        if page.compression == Compression.NONE:
            count = min(count, needed)
        else:
            # LZW's worst is half as much again; what a hole in the file claims beyond is nothing.
            count = min(count, 2 * max(needed, rows * columns * dtype.itemsize) + _SEGMENT_SLACK)
        stored = stream.read(count)
        if len(stored) < count:
            raise DecodeError(f"{count - len(stored)} of its bytes are gone")
        pixels = _segment(page, stored, (height, columns), byte_order, dtype)
        part[...] = pixels[: part.shape[0], : part.shape[1]]
    return plane


def _segment(
    page: Page,
    stored: bytes,
    shape: tuple[int, int],
    byte_order: ByteOrder,
    dtype: np.dtype[np.generic],
) -> NDArray[np.generic]:
    """Decode one strip or tile (Y, X)."""
    needed = shape[0] * shape[1] * dtype.itemsize
    raw: bytes | bytearray = stored
    try:
        if page.compression != Compression.NONE:
            decode = _DECODERS[page.compression]
            if page.fill_order == REVERSED_BITS:
                stored = bytes(imagecodecs.bitorder_decode(stored))
            # Some writers pad the last strip to full height.
            most = page.segment_height * shape[1] * dtype.itemsize
            raw = decode(stored, out=bytearray(most))
        if len(raw) < needed:
            raise DecodeError(f"{len(raw)} bytes decoded where {needed} belong")
        if page.predictor == Predictor.FLOATING_POINT:
            # Its bytes are shuffled most significant first, whatever the file's byte order.
            values = np.frombuffer(raw, dtype.newbyteorder(">"), shape[0] * shape[1])
            return np.asarray(imagecodecs.floatpred_decode(values.reshape(shape), axis=-1), dtype)
        values = np.frombuffer(raw, dtype.newbyteorder(byte_order), shape[0] * shape[1])
        pixels = values.reshape(shape).astype(dtype, copy=False)
        if page.predictor == Predictor.HORIZONTAL:
            words = pixels.view(f"u{dtype.itemsize}")
            pixels = np.cumsum(words, axis=1, dtype=words.dtype).view(dtype)
    except (RuntimeError, ValueError, TypeError) as error:
        raise DecodeError(str(error) or type(error).__name__) from error
    return pixels
