"""The numbers of TIFF by their names: tags, compressions, byte order.

Sources: TIFF 6.0; Adobe's TIFF Technical Notes (compressions 8 and 32946, predictor 3); libtiff's
``tiff.h`` (LZMA, zstd).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

ByteOrder = Literal["<", ">"]
"""As ``struct`` and numpy spell it: little or big endian."""


def byte_order_of(head: bytes) -> ByteOrder:
    """Return the byte order of a TIFF file by its first two bytes, ``II`` or ``MM``."""
    return "<" if head[:2] == b"II" else ">"


class Tag(IntEnum):
    """What an entry of a directory holds."""

    SUBFILE_TYPE = 254
    OLD_SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DESCRIPTION = 270
    STRIP_OFFSETS = 273
    SAMPLES = 277
    STRIP_ROWS = 278
    STRIP_BYTES = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR = 284
    RESOLUTION_UNIT = 296
    SOFTWARE = 305
    PREDICTOR = 317
    COLOUR_TABLE = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    SAMPLE_FORMAT = 339
    METAMORPH = 33629
    FLUOVIEW = 34361
    ZEISS_LSM = 34412
    MICRO_MANAGER = 51123


FIRST_PRIVATE_TAG = 32768


class Compression(IntEnum):
    """How a plane's bytes are stored."""

    NONE = 1
    LZW = 5
    DEFLATE = 8
    OLD_DEFLATE = 32946
    PACKBITS = 32773
    LZMA = 34925
    OLD_ZSTD = 34926
    ZSTD = 50000


MAX_RATIO: dict[int, int] = {
    Compression.NONE: 1,
    Compression.LZW: 1400,  # 4096 codes of 12 bits at most, the longest stands for about 2 kB
    Compression.DEFLATE: 1040,  # 258 bytes from 2 bits, 1032 in theory
    Compression.OLD_DEFLATE: 1040,
    Compression.PACKBITS: 64,  # 128 bytes from 2
    Compression.LZMA: 8000,  # zeros, measured at 7,000
    Compression.OLD_ZSTD: 33000,  # a block of 128 KiB from 4 bytes
    Compression.ZSTD: 33000,
}
"""How much a compression can shrink at best; what claims more is a bomb or damaged."""
OTHER_RATIO = 1040
RATIO_SLACK_BYTES = 4096
"""Headers and tiny segments; keeps the bound honest for planes of a few kB."""


class Predictor(IntEnum):
    """What was done to the pixels before they were compressed."""

    NONE = 1
    HORIZONTAL = 2
    FLOATING_POINT = 3


class SampleFormat(IntEnum):
    """What a sample is."""

    UNSIGNED = 1
    SIGNED = 2
    FLOAT = 3
    COMPLEX_INTEGER = 5
    COMPLEX = 6


class ResolutionUnit(IntEnum):
    """What the resolution counts pixels of."""

    NONE = 1
    INCH = 2
    CENTIMETRE = 3


SEPARATE_PLANES = 2
"""Of ``Tag.PLANAR``: every sample has strips of its own."""
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
PALETTE = 3
"""Of ``Tag.PHOTOMETRIC``."""
SUBFILE_TYPES = (Tag.SUBFILE_TYPE, Tag.OLD_SUBFILE_TYPE)
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2


def is_reduced(subfile_type: int, old_subfile_type: int) -> bool:
    """Return whether a page is a thumbnail, or a mask of another page, by its subfile types."""
    return bool(subfile_type & (_REDUCED | _MASK)) or old_subfile_type == _OLD_REDUCED


REVERSED_BITS = 2
"""Of ``Tag.FILL_ORDER``: the first pixel is in the lowest bit."""
RATIONAL = 5
"""Type of two 32-bit integers."""
