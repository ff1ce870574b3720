"""OME-XML: how many planes belong in this file, and which is which.

OME-XML may describe an acquisition of many files, each of which repeats all of it: only the planes
that its ``TiffData`` put into this very file count. No other file is ever opened.

The schema: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from live_restore.formats.tiff.layout import (
    Found,
    Layout,
    PlanesMissingError,
    arrange,
    surplus,
    voxel_size,
)
from live_restore.formats.units import micrometres, seconds
from live_restore.stack import VoxelSize

MAX_PLANES = 50_000_000
MAX_ELEMENTS = 400_000
"""In one description; a plane takes three (Plane, TiffData and its UUID)."""
MAX_DEPTH = 64
"""Of elements within elements; the schema needs about ten."""
MAX_NAME = 200
"""Characters of a name that are kept."""


@dataclass(slots=True)
class _Block:
    """One TiffData: ``planes`` planes from directory ``ifd`` on (``None``: not said)."""

    first: dict[str, int]
    ifd: int | None
    planes: int | None
    file: str | None = None
    uuid: str = ""


@dataclass(slots=True)
class _Image:
    """One Image with its Pixels."""

    name: str = ""
    pixels: dict[str, str] = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)
    samples: int = 1
    blocks: list[_Block] = field(default_factory=list)


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]


def is_ome(text: str) -> bool:
    """Return whether a description looks like OME-XML."""
    return text.startswith("<") and "<OME" in text[:4096]


def is_whole(text: str) -> bool:
    """Return whether OME-XML has its end.

    Examples
    --------
    >>> is_whole("<OME><Image/></OME>"), is_whole("<OME/>"), is_whole("<OME><Image/>")
    (True, True, False)
    """
    return bool(re.search(r"(</(\w+:)?OME|<(\w+:)?OME[^<>]*/)>$", text[-4096:]))


def _integer(found: Found, attributes: dict[str, str], name: str, default: int) -> int:
    text = attributes.get(name, str(default)).strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise found.contradiction(f"OME {name}={text[:40]!r}")
    return int(text)


def _parse(found: Found, text: str) -> tuple[list[_Image], str]:
    """Read what matters of the XML, element by element, so that memory stays small."""
    images: list[_Image] = []
    uuid = ""
    elements = depth = 0
    try:
        # Without a document type there are no entities, of whatever kind.
        parsed = iterparse(io.BytesIO(text.encode()), events=("start", "end"), forbid_dtd=True)
        for event, element in parsed:
            name = _local(element.tag)
            if event == "start":
                elements, depth = elements + 1, depth + 1
                if elements > MAX_ELEMENTS or depth > MAX_DEPTH:
                    raise found.contradiction(
                        f"its OME-XML has more than {MAX_ELEMENTS:,} elements"
                        if depth <= MAX_DEPTH
                        else f"its OME-XML nests deeper than {MAX_DEPTH} elements"
                    )
                if name == "OME":
                    uuid = element.get("UUID", "")
                _start(found, images, name, element)
            else:
                depth -= 1
                if name == "UUID" and images and images[-1].blocks:
                    images[-1].blocks[-1].file = element.get("FileName")
                    images[-1].blocks[-1].uuid = (element.text or "").strip()
                if name not in {"UUID", "OME"}:
                    element.clear()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise found.contradiction(f"its OME-XML cannot be read ({error})") from error
    return images, uuid


def _start(found: Found, images: list[_Image], name: str, element: Element) -> None:
    """Read one opening element."""
    get = dict(element.attrib)
    if name == "Image":
        images.append(_Image(get.get("Name", "")[:MAX_NAME]))
    elif not images:
        return
    elif name == "Pixels":
        images[-1].pixels = get
    elif name == "Channel" and images[-1].pixels:
        images[-1].channels.append(get.get("Name", "")[:MAX_NAME])
        images[-1].samples = max(1, _integer(found, get, "SamplesPerPixel", 1))
    elif name == "TiffData":
        first = {axis: _integer(found, get, f"First{axis}", 0) for axis in "ZCT"}
        ifd = _integer(found, get, "IFD", 0) if "IFD" in get else None
        count = _integer(found, get, "PlaneCount", 0) if "PlaneCount" in get else None
        images[-1].blocks.append(_Block(first, ifd, count))


def _select(found: Found, images: list[_Image], uuid: str) -> tuple[list[_Image], tuple[str, ...]]:
    """Keep the images that lie in this file."""
    blocks = [block for image in images for block in image.blocks]
    names = {block.file for block in blocks if block.file is not None}
    here = {None, found.path.name}
    notes: tuple[str, ...] = ()
    if names and found.path.name not in names:
        ours = {block.file for block in blocks if uuid and block.uuid == uuid}
        if not ours and len(names) == 1:
            ours = set(names)
        if not ours and None not in {block.file for block in blocks}:
            raise found.refused(
                "its OME-XML describes other files and not this one",
                "give the file back the name that it was saved under",
            )
        if ours:
            here |= ours
            notes = ("the file was renamed after it was saved",)
    kept = []
    for image in images:
        inside = [block for block in image.blocks if block.file in here]
        if inside and len(inside) < len(image.blocks):
            raise found.refused(
                "its OME-XML spreads one stack over several files",
                "combine them into one file per position (Bio-Formats: bfconvert)",
            )
        if inside or not image.blocks:
            kept.append(image)
    return kept, notes


def _sizes(found: Found, image: _Image) -> tuple[str, tuple[int, ...]]:
    """Return the axes of an image beyond Y and X, slowest first, and their sizes."""
    size = {axis: _integer(found, image.pixels, f"Size{axis}", 1) for axis in "ZCTYX"}
    if min(size.values()) < 1:
        raise found.contradiction("an OME size of zero")
    if (size["Y"], size["X"]) != (found.height, found.width):
        raise found.contradiction(
            f"OME says {size['Y']} x {size['X']}, planes are {found.height} x {found.width}"
        )
    # In OME, SizeC counts the samples of an RGB channel too.
    size["C"] = max(1, size["C"] // image.samples)
    order = image.pixels.get("DimensionOrder", "XYZCT").upper()
    if not order.startswith("XY") or sorted(order[2:]) != ["C", "T", "Z"]:
        raise found.contradiction(f"OME DimensionOrder {order[:20]!r}")
    axes = order[:1:-1]
    return axes, tuple(size[axis] for axis in axes)


def _directories(
    found: Found, image: _Image, axes: str, sizes: tuple[int, ...], at: int
) -> tuple[dict[int, int], int]:
    """Return the directory of each plane (counted in the image's own order), and the next one."""
    total = int(np.prod(sizes))
    placed: dict[int, int] = {}
    following = at
    named = 0
    for block in image.blocks or [_Block({}, None, None)]:
        ifd = following if block.ifd is None else block.ifd
        count = block.planes
        if count is None:
            count = 1 if block.ifd is not None else total
        start = 0
        for axis, size in zip(axes, sizes, strict=True):
            start = start * size + block.first.get(axis, 0)
        named += count
        if start + count > total or named > total:
            raise found.contradiction("an OME TiffData outside its image")
        if ifd + count > found.planes:
            raise PlanesMissingError(found.planes, max(total, ifd + count))
        for step in range(count):
            placed[start + step] = ifd + step
        following = ifd + count
    return placed, following


def ome(found: Found, text: str) -> Layout | None:
    """Lay out a file by its OME-XML; ``None`` where the XML describes no image.

    Raises
    ------
    PlanesMissingError
        Planes are still missing.
    StackRefusedError
        There is no Z, images differ, or the stacks are spread over several files.
    StackUnreadableError
        The XML is damaged or contradicts the planes.
    """
    everything, uuid = _parse(found, text)
    images, notes = _select(found, [image for image in everything if image.pixels], uuid)
    if not images:
        return None
    shapes = [_sizes(found, image) for image in images]
    if len({shape for _, shape in shapes}) > 1 or len({axes for axes, _ in shapes}) > 1:
        raise found.refused("several OME images of different sizes", "save one image per file")
    axes, sizes = shapes[0]
    if len({image.pixels.get("Type", "") for image in images}) > 1:
        raise found.refused("several OME images of different types", "save one image per file")
    each = 1
    for size in sizes:
        each *= size
    expected = each * len(images)
    if expected > MAX_PLANES:
        raise found.contradiction(f"OME claims {expected} planes")
    found.need(expected)
    table = np.full(expected, -1, dtype=np.int64)
    following = 0
    for number, image in enumerate(images):
        placed, following = _directories(found, image, axes, sizes, following)
        table[[number * each + plane for plane in placed]] = list(placed.values())
    present = int((table >= 0).sum())
    if present < expected and not found.partial:
        raise PlanesMissingError(present, expected)
    if len(set(table[table >= 0].tolist())) < present:
        raise found.contradiction("two OME planes share a directory")
    named, planes = arrange(found, "P" + axes, (len(images), *sizes))
    first = images[0]
    titles = tuple(image.name for image in images) if len(images) > 1 or first.name else ()
    interval = first.pixels.get("TimeIncrement")
    channels = tuple(first.channels) if any(first.channels) else ()
    return Layout(
        table[planes],
        named,
        expected,
        _voxel(found, first),
        channels[: planes.shape[2]],
        titles,
        seconds(interval, first.pixels.get("TimeIncrementUnit", "s")),
        notes + surplus(found, expected),
    )


def _voxel(found: Found, image: _Image) -> VoxelSize:
    """Return the voxel size; where OME does not say, the TIFF's resolution does for Y and X."""
    size = {
        axis: micrometres(
            image.pixels.get(f"PhysicalSize{axis}"),
            image.pixels.get(f"PhysicalSize{axis}Unit", "um"),
        )
        for axis in "ZYX"
    }
    tiff = voxel_size(found)
    return VoxelSize(size["Z"], size["Y"] or tiff.y_um, size["X"] or tiff.x_um)
