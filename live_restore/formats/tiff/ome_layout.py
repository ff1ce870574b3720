"""OME-XML: which plane of which stack lies where. Pure.

OME-XML may describe an acquisition of many files, each of which repeats all of it. Images that lie
in this file alone are this file's; one that other files hold parts of makes them and this one a set
(``ome_set.py``), which is laid out here as well: planes are then counted through all its files.

Where positions are no stacks of the same kind, as an overview beside z-stacks is not, the most
stacks that are win; depth, height and width may differ from position to position.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from live_restore.formats.tiff.layout import (
    Found,
    Layout,
    PlanesMissingError,
    arrange,
    surplus,
)
from live_restore.formats.tiff.ome_metadata import image_metadata, voxel_of
from live_restore.formats.tiff.ome_xml import MAX_NAME, Block, Document, Image, integer_of
from live_restore.formats.tiff.page import Page
from live_restore.formats.units import seconds

MAX_PLANES = 50_000_000

_Sizes = tuple[str, tuple[int, ...]]
"""Axes beyond Y and X, slowest first, and how many there are along each."""


@dataclass(frozen=True)
class Chain:
    """Which directories of a file are planes, and not reduced copies of them.

    ``first`` is the number of its first plane among those of all files of the image;
    ``directories`` are its planes' places in the file's chain, ascending, as TiffData counts.
    """

    first: int
    directories: Sequence[int]


@dataclass(frozen=True)
class Selected:
    """Images to lay out, and the files that they lie in: this one, or those of a set."""

    images: tuple[Image, ...]
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()


def select(found: Found, document: Document) -> Selected:
    """Return the images that lie in this file, together with the other files that they lie in.

    Raises
    ------
    StackRefusedError
        None does, or the XML describes no image at all.
    """
    images = document.described
    if not images:
        raise found.refused(
            "its OME-XML describes no image", "save it again with its metadata, or without any"
        )
    own = found.path.name
    blocks = [block for image in images for block in image.blocks]
    names = {block.file for block in blocks if block.file is not None}
    notes: tuple[str, ...] = ()
    if names and own not in names:
        uuid = document.uuid
        ours = {block.file for block in blocks if uuid and block.uuid == uuid}
        if not ours and len(names) == 1:
            ours = set(names)
        renamed = ours - {None}
        if len(renamed) == 1 and not any(_mixed(image, renamed) for image in images):
            notes = ("the file was renamed after it was saved",)
            for block in blocks:
                if block.file in renamed:
                    block.file = own
        elif None not in {block.file for block in blocks}:
            raise found.refused(
                "its OME-XML describes other files and not this one",
                "give the file back the name that it was saved under",
            )
    files, kept = _connected(images, own)
    return Selected(tuple(kept), tuple(files), notes)


def _mixed(image: Image, files: set[str | None]) -> bool:
    """Return whether an image lies in some of these files, and in others."""
    inside = {block.file in files for block in image.blocks}
    return len(inside) > 1


def _connected(images: Sequence[Image], own: str) -> tuple[list[str], list[Image]]:
    """Return the files that hold parts of images that lie in this one, in order, and the images."""
    inside = [{block.file or own for block in image.blocks} or {own} for image in images]
    holders: dict[str, list[int]] = {}
    for number, files in enumerate(inside):
        for name in files:
            holders.setdefault(name, []).append(number)
    reached, kept, waiting = {own}, set(), [own]
    while waiting:
        for number in holders.get(waiting.pop(), ()):
            if number not in kept:
                kept.add(number)
                waiting += inside[number] - reached
                reached |= inside[number]
    chosen = [images[number] for number in sorted(kept)]
    ordered = dict.fromkeys(block.file or own for image in chosen for block in image.blocks)
    return [name for name in ordered if name in reached] or [own], chosen


def lay_out(
    found: Found, selected: Selected, chains: Mapping[str, Chain], pages: Sequence[Page]
) -> Layout:
    """Lay out the images of a file, or of a set of files.

    Parameters
    ----------
    found
        The file, or the first of the set; its ``planes`` are those of all files.
    selected
        From :func:`select`.
    chains
        By the name of each file.
    pages
        The planes of all files.

    Raises
    ------
    PlanesMissingError
        Planes are still missing.
    StackRefusedError
        There is no Z.
    StackUnreadableError
        The XML contradicts the planes.
    """
    shapes = [_sizes(found, image) for image in selected.images]
    expected = sum(math.prod(sizes) for _, sizes in shapes)
    if expected > MAX_PLANES:
        raise found.contradiction(f"OME claims {expected} planes")
    found.need(expected)
    tables: list[NDArray[np.int64]] = []
    said: list[tuple[int, int, int]] = []
    following: dict[str, int] = {}
    for image, (axes, sizes) in zip(selected.images, shapes, strict=True):
        table = _table(found, image, axes, sizes, chains, following)
        height, width = (integer_of(found, image.pixels, f"Size{axis}", 1) for axis in "YX")
        there = table[(table >= 0) & (table < len(pages))]
        first = pages[int(there[0])] if there.size else None
        if first is not None and (height, width) != (first.height, first.width):
            raise found.contradiction(
                f"OME says {height} x {width}, planes are {first.height} x {first.width}"
            )
        tables.append(table)
        said.append((sizes[axes.index("Z")], height, width))
    named = np.concatenate([table[table >= 0] for table in tables])
    if len(np.unique(named)) < len(named):
        raise found.contradiction("two OME planes share a directory")
    kept = _alike(selected.images, shapes)
    arranged = [arrange(found, shapes[each][0], shapes[each][1]) for each in kept]
    planes = _joined(
        [tables[each][order[0]] for each, (_, order) in zip(kept, arranged, strict=True)]
    )
    layout = Layout(planes, arranged[0][0], expected, notes=selected.notes)
    layout = replace(layout, shapes_zyx=tuple(said[each] for each in kept))
    layout = _described(found, layout, [selected.images[each] for each in kept])
    left_out = len(tables) - len(kept)
    if left_out:
        note = f"{left_out} of {len(tables)} images left out: not stacks like the others"
        layout = replace(
            layout, notes=(*layout.notes, note), assumptions=(*layout.assumptions, _LEFT_OUT)
        )
    return replace(layout, notes=layout.notes + surplus(found, expected))


_LEFT_OUT = (
    "images of a file that are no stacks like its others (axes, times, channels, type) are left "
    "out: save those in files of their own"
)


def _described(found: Found, layout: Layout, images: Sequence[Image]) -> Layout:
    """Return a layout with all that its images say about it."""
    first = images[0]
    voxel, notes, assumed = voxel_of(first, found.voxel())
    names = tuple(each.get("Name", "")[:MAX_NAME] for each in first.channels)
    return replace(
        layout,
        voxel=voxel,
        channel_names=names[: layout.planes.shape[2]] if any(names) else (),
        position_names=(
            tuple(image.name for image in images) if len(images) > 1 or first.name else ()
        ),
        time_increment_s=seconds(
            first.pixels.get("TimeIncrement"), first.pixels.get("TimeIncrementUnit", "s")
        ),
        notes=layout.notes + notes,
        assumptions=assumed,
        metadata=image_metadata(images, layout.planes.shape[1:]),
    )


def _alike(images: Sequence[Image], shapes: Sequence[_Sizes]) -> list[int]:
    """Return which images can be the positions of one result: the most that are alike."""
    kinds = [
        (axes, tuple(n for axis, n in zip(axes, sizes, strict=True) if axis != "Z"),
         image.pixels.get("Type", ""))
        for image, (axes, sizes) in zip(images, shapes, strict=True)
    ]  # fmt: skip
    deep = [each for each, (axes, sizes) in enumerate(shapes) if sizes[axes.index("Z")] > 1]
    if not deep:
        return list(range(len(images)))  # for which there is a refusal
    wanted, _ = Counter(kinds[each] for each in deep).most_common(1)[0]
    return [each for each in deep if kinds[each] == wanted]


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return one table (positions, times, channels, Z) of (times, channels, Z) each."""
    deepest = max(part.shape[2] for part in parts)
    planes = np.full((len(parts), *parts[0].shape[:2], deepest), -1, np.int64)
    for position, part in enumerate(parts):
        planes[position, :, :, : part.shape[2]] = part
    return planes


def _sizes(found: Found, image: Image) -> _Sizes:
    """Return the axes of an image beyond Y and X, slowest first, and their sizes."""
    size = {axis: integer_of(found, image.pixels, f"Size{axis}", 1) for axis in "ZCT"}
    if min(size.values()) < 1:
        raise found.contradiction("an OME size of zero")
    # In OME, SizeC counts the samples of an RGB channel too.
    size["C"] = max(1, size["C"] // image.samples)
    order = image.pixels.get("DimensionOrder", "XYZCT").upper()
    if not order.startswith("XY") or sorted(order[2:]) != ["C", "T", "Z"]:
        raise found.contradiction(f"OME DimensionOrder {order[:20]!r}")
    axes = order[:1:-1]
    return axes, tuple(size[axis] for axis in axes)


def _table(
    found: Found,
    image: Image,
    axes: str,
    sizes: tuple[int, ...],
    chains: Mapping[str, Chain],
    following: dict[str, int],
) -> NDArray[np.int64]:
    """Return the number of each plane, counted in the image's own order.

    ``following`` holds which plane of each file comes next where TiffData does not say.
    """
    total = math.prod(sizes)
    table = np.full(total, -1, np.int64)
    named = needed = 0
    for block in image.blocks or [Block({}, None, None)]:
        name = block.file or found.path.name
        chain = chains[name]
        at = following.get(name, 0)
        if block.ifd is not None:
            at = bisect.bisect_left(chain.directories, block.ifd)
            if at == len(chain.directories):  # what is to come: as if all of it were planes
                at += block.ifd - (chain.directories[-1] + 1 if chain.directories else 0)
            elif chain.directories[at] != block.ifd:
                raise found.contradiction(f"OME IFD {block.ifd} is a reduced copy of a plane")
        count = block.planes
        if count is None:
            whole = total if len(chains) == 1 else len(chain.directories)
            count = 1 if block.ifd is not None else whole
        start = 0
        for axis, size in zip(axes, sizes, strict=True):
            start = start * size + block.first.get(axis, 0)
        named += count
        if start + count > total or named > total:
            raise found.contradiction("an OME TiffData outside its image")
        following[name] = at + count
        if at + count > len(chain.directories):
            needed = max(needed, chain.first + at + count)
        else:
            table[start : start + count] = np.arange(at, at + count) + chain.first
    if needed:
        raise PlanesMissingError(found.planes, max(total, needed))
    present = int((table >= 0).sum())
    if present < total and not found.partial:
        raise PlanesMissingError(present, total)
    return table
