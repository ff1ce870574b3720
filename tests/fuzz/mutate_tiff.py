"""Mutations of TIFF files that know where its directories are."""

from __future__ import annotations

import functools
import random
import struct
import zlib
from dataclasses import dataclass

import imagecodecs

from tests.fuzz.mutate import damage, mutate_json, mutate_text, number
from tests.fuzz.mutate_xml import mutate_xml

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_TAGS = (254, 256, 257, 258, 259, 262, 266, 270, 273, 277, 278, 279, 282, 284, 296, 305, 317, 322,
         323, 324, 325, 330, 338, 339, 34361, 34412, 50838, 50839, 51123, 65535)  # fmt: skip
_POINTERS = (270, 273, 279, 324, 325, 282, 283, 305, 330)
_MAX_DIRECTORIES = 64
DESCRIPTION = 270


@dataclass(frozen=True)
class Entry:
    """One entry of a directory: where it lies, and what it says."""

    at: int
    tag: int
    kind: int
    count: int
    value: int


@dataclass(frozen=True)
class Map:
    """Where the parts of a TIFF file are."""

    order: str
    big: bool
    directories: tuple[int, ...]
    entries: tuple[Entry, ...]
    links: tuple[int, ...]

    @property
    def pointer(self) -> str:
        """Struct code of an offset."""
        return self.order + ("Q" if self.big else "I")


def survey(data: bytes) -> Map | None:
    """Find the directories of a TIFF file, ``None`` where there are none."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    order, big = "<" if data[:2] == b"II" else ">", b"+" in data[:4]
    count_code, entry_code, pointer = ("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")
    step, link = (20, 8) if big else (12, 4)
    directories: list[int] = []
    entries: list[Entry] = []
    links = [link]
    try:
        (at,) = struct.unpack_from(order + pointer, data, link)
        while at and at not in directories and len(directories) < _MAX_DIRECTORIES:
            directories.append(at)
            (count,) = struct.unpack_from(order + count_code, data, at)
            first = at + struct.calcsize("=" + count_code)
            for number_ in range(min(count, 100)):
                place = first + number_ * step
                entries.append(Entry(place, *struct.unpack_from(order + entry_code, data, place)))
            links.append(first + count * step)
            (at,) = struct.unpack_from(order + pointer, data, links[-1])
    except (struct.error, OverflowError):
        pass
    return Map(order, big, tuple(directories), tuple(entries), tuple(links))


def put(data: bytes, at: int, code: str, value: int) -> bytes:
    """Return ``data`` with a number at ``at``; what does not fit wraps around."""
    width = struct.calcsize("=" + code[-1])
    raw = struct.pack(code[0] + code[-1], value % (1 << 8 * width))
    return data[:at] + raw + data[at + width :]


def set_entry(
    data: bytes, where: Map, entry: Entry, kind: int | None = None, count: int | None = None,
    value: int | None = None, tag: int | None = None,
) -> bytes:  # fmt: skip
    """Return ``data`` with parts of one entry replaced."""
    order = where.order
    if tag is not None:
        data = put(data, entry.at, order + "H", tag)
    if kind is not None:
        data = put(data, entry.at + 2, order + "H", kind)
    if count is not None:
        data = put(data, entry.at + 4, where.pointer, count)
    if value is not None:
        width = _SIZES.get(kind or entry.kind, 4)
        code = {1: "B", 2: "H", 4: "I", 8: "Q" if where.big else "I"}[width]
        data = put(data, entry.at + (12 if where.big else 8), order + code, value)
    return data


def replace_block(data: bytes, where: Map, entry: Entry, block: bytes, kind: int) -> bytes:
    """Return ``data`` with an entry's value replaced by ``block``, put at the end of the file."""
    at = len(data)
    data = set_entry(data, where, entry, kind=kind, count=len(block))
    return put(data, entry.at + (12 if where.big else 8), where.pointer, at) + block


def description_of(data: bytes, where: Map) -> tuple[Entry, bytes] | None:
    """Return the first description that does not lie in its entry."""
    for entry in where.entries:
        if entry.tag == DESCRIPTION and entry.count > 8:
            return entry, data[entry.value : entry.value + entry.count]
    return None


@functools.cache
def _bomb(compression: int, size: int) -> bytes:
    """Return data that unpack to ``size`` zeros."""
    zeros = bytes(size)
    if compression == 8:
        return zlib.compress(zeros)
    if compression == 50000:
        return bytes(imagecodecs.zstd_encode(zeros))
    if compression == 5:
        return lzw_zeros()
    return b"\x81\0" * (size // 128)  # PackBits: 128 times the next byte


def lzw_zeros() -> bytes:
    """Return TIFF's LZW data for 7 MB of zeros: each code stands for one zero more."""
    codes = [256, 0, *range(258, 4094), 257]
    bits = 0
    length = 0
    for place, code in enumerate(codes):
        known = 257 + max(0, place - 1)
        width = max(9, (known + 1).bit_length())
        bits, length = bits << width | code, length + width
    return (bits << -length % 8).to_bytes((length + 7) // 8, "big")


def mutate_tiff(rng: random.Random, data: bytes) -> tuple[bytes, int | None]:
    """Return a TIFF file after one change, and its size where it ends in a hole."""
    where = survey(data)
    if where is None or not where.entries or rng.random() < 0.12:
        return damage(rng, data), None
    entry = rng.choice(where.entries)
    what = rng.randrange(16)
    places = (
        0,
        8,
        entry.at,
        *where.directories,
        *where.links,
        len(data) - 1,
        len(data),
        len(data) + 1,
    )
    if what < 3:
        return set_entry(data, where, entry, value=number(rng)), None
    if what == 3:
        return set_entry(data, where, entry, count=number(rng)), None
    if what == 4:
        return set_entry(
            data, where, entry, kind=rng.choice((0, 1, 2, 3, 4, 5, 12, 13, 16, 99))
        ), None
    if what == 5:
        return set_entry(data, where, entry, tag=rng.choice(_TAGS)), None
    if what == 6:
        return put(data, rng.choice(where.links), where.pointer, rng.choice(places)), None
    if what == 7:
        pointing = [e for e in where.entries if e.tag in _POINTERS] or [entry]
        return set_entry(data, where, rng.choice(pointing), value=rng.choice(places)), None
    if what == 8:
        sized = [e for e in where.entries if e.tag in (256, 257, 278, 322, 323)] or [entry]
        each = rng.choice(sized)
        twin = rng.choice(sized)
        data = set_entry(data, where, each, kind=4, count=1, value=number(rng))
        return set_entry(data, where, twin, kind=4, count=1, value=number(rng)), None
    if what == 9:
        offsets = [e for e in where.entries if e.tag in (273, 324)]
        counts = [e for e in where.entries if e.tag in (279, 325)]
        packed = [e for e in where.entries if e.tag == 259]
        if not offsets or not counts or not packed:
            return damage(rng, data), None
        number_ = rng.randrange(min(len(offsets), len(counts), len(packed)))
        compression = rng.choice((5, 8, 32773, 50000))
        bomb = _bomb(compression, rng.choice((100_000, 5_000_000)))
        data = set_entry(data, where, packed[number_], value=compression)
        data = set_entry(data, where, offsets[number_], kind=4, count=1, value=len(data))
        data = set_entry(data, where, counts[number_], kind=4, count=1, value=len(bomb))
        if rng.random() < 0.5:
            side = rng.choice((1000, 3000, 30_000, 100_000))
            for sized_entry in where.entries:
                if sized_entry.tag in (256, 257, 278, 322, 323):
                    data = set_entry(data, where, sized_entry, kind=4, count=1, value=side)
        return data + bomb, None
    if what in (10, 11):
        found = description_of(data, where)
        if found is None:
            return damage(rng, data), None
        described, text = found
        return replace_block(data, where, described, mutate_description(rng, text), 2), None
    if what == 12 and where.directories:
        at = rng.choice(where.directories)
        code = "Q" if where.big else "H"
        return put(data, at, where.order + code, number(rng)), None
    if what == 13:
        return data, rng.choice((len(data) + 1, 2**20, 2**31, 2**32 - 1, 2**32 + 7, 2**34))
    if what == 14:
        return data[: rng.randrange(len(data))], rng.choice((None, len(data)))
    if what == 15:  # one big block that every entry of a kind points to
        block = struct.pack(where.order + "I", number(rng) % 2**32) * rng.choice((10, 10_000))
        tag = rng.choice((258, 273, 279, 270))
        at = len(data)
        for each in where.entries:
            if each.tag == tag:
                kind, count = (2, len(block)) if tag == 270 else (4, len(block) // 4)
                data = set_entry(data, where, each, kind=kind, count=count)
                data = put(data, each.at + (12 if where.big else 8), where.pointer, at)
        return data + block, None
    return damage(rng, data), None


def mutate_description(rng: random.Random, text: bytes) -> bytes:
    """Return a description after one change, in the language that it is in."""
    if text.startswith(b"<"):
        return mutate_xml(rng, text.rstrip(b"\0")) + b"\0"
    if text.startswith(b"{"):
        return mutate_json(rng, text.rstrip(b"\0")) + b"\0"
    return mutate_text(rng, text)
