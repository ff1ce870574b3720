"""One Zarr array, version 2 or 3: what its metadata say, where its chunks are, how to decode one.

Chunks that do not exist read as zeros without an error in every Zarr library; so here a chunk is
a file that exists or it is missing. Codecs that are not known are refused by name. Sources: Zarr
v2 and v3 specifications; the binary headers of Blosc and of numcodecs' LZ4.
"""

from __future__ import annotations

import bz2
import lzma
import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from live_restore.files.values import bearable_bytes, integer

MAX_CHUNK_BYTES = 2**30
MAX_CHUNKS = 50_000_000
MAX_DIMENSIONS = 8
MAX_RATIO = 33_000
"""How much any of these codecs can shrink at best (zstd); what claims more is a bomb."""

Stored = bytes | bytearray

_DTYPES = {"uint8": "u1", "uint16": "u2", "int16": "i2", "uint32": "u4", "float32": "f4"}


class ZarrError(Exception):
    """Not a Zarr array that can be read; the message says why."""


@dataclass(frozen=True)
class Array:
    """An array's metadata.

    Parameters
    ----------
    shape, chunks
        Elements along each dimension.
    dtype
        As stored, with its byte order.
    codecs
        Names of the compressions, in the order of decoding.
    separator
        Between the indices of a chunk key.
    prefix
        First part of a chunk key: "c" in version 3, nothing in version 2.
    fortran
        Whether the first index runs fastest within a chunk.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[np.generic]
    codecs: tuple[str, ...]
    separator: str
    prefix: str
    fortran: bool = False

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along each dimension."""
        return tuple(-(-s // c) for s, c in zip(self.shape, self.chunks, strict=True))

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk; those at the edges are whole, too."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def key(self, index: tuple[int, ...]) -> str:
        """Return a chunk's key, such as ``c/0/1/2/0/0``."""
        parts = [self.prefix] if self.prefix else []
        return self.separator.join([*parts, *map(str, index)])

    def decode(self, data: Stored) -> NDArray[np.generic]:
        """Return one chunk's elements, native byte order.

        Raises
        ------
        ZarrError
            Its bytes are damaged.
        """
        needed = self.chunk_bytes
        if needed > min(MAX_RATIO * len(data) + 4096, bearable_bytes(len(data))):
            raise ZarrError(f"{len(data)} bytes cannot hold a chunk of {needed}")
        for name in self.codecs:
            try:
                data = _DECODERS[name](data, needed)
            except (RuntimeError, ValueError, zlib.error, OSError, EOFError, lzma.LZMAError,
                    struct.error) as error:  # fmt: skip
                raise ZarrError(f"a chunk's {name} data are damaged ({error})") from error
        if len(data) != needed:
            raise ZarrError(f"a chunk holds {len(data)} bytes where {needed} belong")
        values = np.frombuffer(data, self.dtype).reshape(
            self.chunks, order="F" if self.fortran else "C"
        )
        return values.astype(self.dtype.newbyteorder("="), copy=False)


def _stream(make: Callable[[], Any]) -> Callable[[Stored, int], Stored]:
    def decode(data: Stored, needed: int) -> Stored:
        return bytes(make().decompress(data, needed))

    return decode


def _zstd(data: Stored, needed: int) -> Stored:
    return imagecodecs.zstd_decode(data, out=bytearray(needed))


def _blosc(data: Stored, needed: int) -> Stored:
    if len(data) < 16 or struct.unpack_from("<I", data, 4)[0] != needed:
        raise ValueError("its header names another size")
    return imagecodecs.blosc_decode(data, out=bytearray(needed))


def _lz4(data: Stored, needed: int) -> Stored:
    if len(data) < 4 or struct.unpack_from("<I", data)[0] != needed:
        raise ValueError("its header names another size")
    return imagecodecs.lz4_decode(data[4:], out=bytearray(needed))


_DECODERS: dict[str, Callable[[Stored, int], Stored]] = {
    "gzip": _stream(lambda: zlib.decompressobj(31)),
    "zlib": _stream(zlib.decompressobj),
    "bz2": _stream(bz2.BZ2Decompressor),
    "lzma": _stream(lzma.LZMADecompressor),
    "zstd": _zstd,
    "blosc": _blosc,
    "lz4": _lz4,
}


def parse_v3(raw: Mapping[str, Any]) -> Array:
    """Return the array that a ``zarr.json`` describes.

    Raises
    ------
    ZarrError
        It is none that can be read.
    """
    grid = _mapping(raw.get("chunk_grid"))
    if grid.get("name") != "regular":
        raise ZarrError(f'chunk grid "{_name(grid)}" is not known')
    encoding = _mapping(raw.get("chunk_key_encoding"))
    if encoding.get("name") not in ("default", "v2"):
        raise ZarrError(f'chunk key encoding "{_name(encoding)}" is not known')
    default = encoding["name"] == "default"
    separator = _mapping(encoding.get("configuration")).get("separator", "/" if default else ".")
    kind = raw.get("data_type")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise ZarrError(f"data type {str(kind)[:40]}; {', '.join(_DTYPES)} are read")
    order, codecs = _codecs_v3(raw.get("codecs"), len(_shape(raw.get("shape"))))
    return _array(
        raw.get("shape"),
        _mapping(grid.get("configuration")).get("chunk_shape"),
        np.dtype(order + _DTYPES[kind]),
        codecs,
        separator,
        "c" if default else "",
    )


def _codecs_v3(listed: object, dimensions: int) -> tuple[str, tuple[str, ...]]:
    """Return the byte order and the compressions, last first."""
    if not isinstance(listed, list) or len(listed) > 8:
        raise ZarrError("no list of codecs")
    order, names = "<", []
    for codec in listed:
        name, options = _name(codec), _mapping(_mapping(codec).get("configuration"))
        if name == "transpose" and options.get("order") == list(range(dimensions)):
            continue
        if name == "bytes":
            order = ">" if options.get("endian") == "big" else "<"
        elif name in ("gzip", "zstd", "blosc"):
            names.append(name)
        else:
            raise ZarrError(f'codec "{name}" is not known')
    return order, tuple(reversed(names))


def parse_v2(raw: Mapping[str, Any]) -> Array:
    """Return the array that a ``.zarray`` describes.

    Raises
    ------
    ZarrError
        It is none that can be read.
    """
    if raw.get("filters"):
        raise ZarrError(f'filter "{_name(raw["filters"])}" is not known')
    compressor = raw.get("compressor")
    names: tuple[str, ...] = ()
    if compressor is not None:
        name = str(_mapping(compressor).get("id"))[:40]
        if name not in _DECODERS:
            raise ZarrError(f'compressor "{name}" is not known')
        names = (name,)
    kind = raw.get("dtype")
    if not isinstance(kind, str) or not re.fullmatch(r"[<>|](u1|u2|i2|u4|f4)", kind):
        raise ZarrError(f"data type {str(kind)[:40]}; {', '.join(_DTYPES)} are read")
    separator = raw.get("dimension_separator", ".")
    fortran = raw.get("order") == "F"
    return _array(
        raw.get("shape"), raw.get("chunks"), np.dtype(kind), names, separator, "", fortran
    )


def _array(
    shape: object,
    chunks: object,
    dtype: np.dtype[np.generic],
    codecs: tuple[str, ...],
    separator: object,
    prefix: str,
    fortran: bool = False,
) -> Array:
    sizes, steps = _shape(shape), _shape(chunks)
    if separator not in ("/", "."):
        raise ZarrError(f"chunk key separator {str(separator)[:10]!r} is not known")
    if not sizes or len(sizes) != len(steps) or not all(steps):
        raise ZarrError("its shape and its chunks do not fit")
    array = Array(sizes, steps, dtype, codecs, str(separator), prefix, fortran)
    if array.chunk_bytes > MAX_CHUNK_BYTES or math.prod(array.grid) > MAX_CHUNKS:
        raise ZarrError(f"chunks of {array.chunk_bytes} bytes, {math.prod(array.grid)} of them")
    return array


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_DIMENSIONS:
        return ()
    sizes = tuple(integer(each) for each in value)
    if any(isinstance(each, str) for each in value):
        return ()
    return tuple(size for size in sizes if size is not None) if None not in sizes else ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(codec: object) -> str:
    """Return a codec's name for a message."""
    if isinstance(codec, list):
        codec = codec[0] if codec else None
    found = _mapping(codec)
    return str(found.get("name", found.get("id", codec)))[:40]
