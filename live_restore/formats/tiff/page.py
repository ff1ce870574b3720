"""What the walk over a TIFF file finds: its pages, and what the first of them says."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import overload

from live_restore.errors import StackUnreadableError
from live_restore.formats.tiff.tags import ByteOrder, Compression, ResolutionUnit

MAX_FOLLOWING = 250_000
"""Planes without a directory of their own in one file: 130 GB at 512 x 512 x 16 bits."""


@dataclass(frozen=True)
class Page:
    """One directory: a plane's layout and where its bytes lie.

    ``offsets`` and ``counts`` (bytes) hold one entry per strip or tile, in file order. A field for
    each tag that decides how those bytes become pixels: there are fifteen.
    """

    width: int
    height: int
    bits: int
    samples: int
    sample_format: int
    compression: int
    predictor: int
    fill_order: int
    photometric: int
    segment_width: int
    segment_height: int
    tiled: bool
    offsets: array[int]
    counts: array[int]
    reduced: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of one decoded row."""
        return (self.width * self.bits * self.samples + 7) // 8

    @property
    def plane_bytes(self) -> int:
        """Bytes of the decoded plane."""
        return self.row_bytes * self.height

    @property
    def stored_bytes(self) -> int:
        """Bytes of the plane in the file."""
        return sum(self.counts)

    @property
    def contiguous(self) -> bool:
        """Whether the plane lies uncompressed in one piece, row after row."""
        if self.compression != Compression.NONE or self.tiled:
            return False
        step = self.row_bytes * self.segment_height
        return all(o == self.offsets[0] + i * step for i, o in enumerate(self.offsets))

    def segment_bytes(self) -> Iterator[int]:
        """Yield the decoded bytes of each strip or tile, in file order."""
        if self.tiled or self.samples > 1:
            rows = self.segment_width * self.bits // 8 * self.segment_height if self.tiled else 1
            yield from repeat(rows, len(self.offsets))
            return
        left = self.height
        for _ in self.offsets:
            yield self.row_bytes * min(left, self.segment_height)
            left -= self.segment_height

    def following(self, index: int) -> Page:
        """Return the plane ``index`` planes further on, stored without a directory of its own."""
        at = self.offsets[0] + index * self.plane_bytes
        return replace(
            self,
            offsets=array("Q", [at]),
            counts=array("Q", [self.plane_bytes]),
            segment_height=self.height,
        )


class FollowingPages(Sequence[Page]):
    """Planes behind the one directory of a file, made as they are asked for."""

    def __init__(self, first: Page, count: int) -> None:
        self._first, self._count = first, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Page: ...
    @overload
    def __getitem__(self, index: slice) -> list[Page]: ...
    def __getitem__(self, index: int | slice) -> Page | list[Page]:
        if isinstance(index, slice):
            return [self._first.following(n) for n in range(self._count)[index]]
        return self._first.following(range(self._count)[index])


@dataclass(frozen=True)
class Structure:
    """What a walk found.

    ``missing`` says what more bytes could mend, and is empty when the chain of directories ended
    and every byte that it names is in the file. ``lacking`` holds the pages (indices) whose pixels
    are not all there, and ``damage`` what no more bytes could mend: by page, or for where the chain
    breaks off by the number of pages before it. ``descriptions`` are the first page's, several
    where a program wrote several; ``vendor_tags`` those private tags it has, ``colour_table`` the
    reds, greens and blues of a palette.
    """

    byte_order: ByteOrder
    pages: tuple[Page, ...] = ()
    missing: str = ""
    descriptions: tuple[str, ...] = ()
    later_descriptions: dict[int, str] = field(default_factory=dict)
    software: str = ""
    resolution: tuple[float, float] | None = None
    resolution_unit: int = ResolutionUnit.INCH
    vendor_tags: frozenset[int] = frozenset()
    header: bytes = b""
    colour_table: tuple[int, ...] = ()
    lacking: frozenset[int] = frozenset()
    damage: Mapping[int, StackUnreadableError] = field(default_factory=dict)

    @property
    def series_pages(self) -> tuple[Page, ...]:
        """Pages that are planes, not thumbnails."""
        return tuple(page for page in self.pages if not page.reduced)

    @property
    def series_indices(self) -> tuple[int, ...]:
        """Which of the pages are planes."""
        return tuple(index for index, page in enumerate(self.pages) if not page.reduced)
