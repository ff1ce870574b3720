"""OME-XML as text: read element by element, so that memory stays small. Pure.

The schema: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from live_restore.formats.tiff.layout import Found

MAX_ELEMENTS = 400_000
"""In one description; a plane takes three (Plane, TiffData and its UUID)."""
MAX_DEPTH = 64
"""Of elements within elements; the schema needs about ten."""
MAX_NAME = 200
"""Characters of a name that are kept."""
MAX_DETECTORS = 100
CAMERA_SERIAL = "serial number of camera"
"""Key under which a channel's attributes hold the serial number of its detector, where known."""
_HEAD = 2**16
"""Characters in which the root element begins: a comment may stand before it."""
_ROOT = re.compile(r"<(?:\w+:)?OME[\s>/]")

_DETECTOR = "ID of detector"  # no attribute of XML can have such a name

Attributes = dict[str, str]


@dataclass(slots=True)
class Block:
    """One TiffData: ``planes`` planes from directory ``ifd`` on (``None``: not said)."""

    first: dict[str, int]
    ifd: int | None
    planes: int | None
    file: str | None = None
    uuid: str = ""


@dataclass(slots=True)
class Image:
    """One Image with its Pixels."""

    name: str = ""
    acquired: str = ""
    pixels: Attributes = field(default_factory=dict)
    channels: list[Attributes] = field(default_factory=list)
    samples: int = 1
    blocks: list[Block] = field(default_factory=list)
    planes: list[Attributes] = field(default_factory=list)


@dataclass(slots=True)
class Document:
    """What one OME-XML says; ``metadata_file`` is where a BinaryOnly element finds the rest.

    ``detectors`` are the serial numbers of cameras, by their IDs; "" where one has none.
    """

    images: list[Image] = field(default_factory=list)
    detectors: dict[str, str] = field(default_factory=dict)
    uuid: str = ""
    metadata_file: str = ""

    @property
    def described(self) -> list[Image]:
        """Images that have pixels."""
        return [image for image in self.images if image.pixels]


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]


def is_ome(text: str) -> bool:
    """Return whether a description is OME-XML.

    Examples
    --------
    >>> is_ome("<?xml version='1.0'?><OME/>"), is_ome("\\ufeff <ome:OME>"), is_ome("<OMERO/>")
    (True, True, False)
    """
    head = text[:_HEAD].lstrip("\ufeff \r\n\t")
    return head.startswith("<") and bool(_ROOT.search(head))


def is_whole(text: str) -> bool:
    """Return whether OME-XML has its end.

    Examples
    --------
    >>> is_whole("<OME><Image/></OME>"), is_whole("<OME/>"), is_whole("<OME><Image/>")
    (True, True, False)
    """
    return bool(re.search(r"(</(\w+:)?OME|<(\w+:)?OME[^<>]*/)>\s*$", text[-4096:]))


def integer_of(found: Found, attributes: Attributes, name: str, default: int) -> int:
    """Return a count; raises ``StackUnreadableError`` for what is none."""
    text = attributes.get(name, str(default)).strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise found.contradiction(f"OME {name}={text[:40]!r}")
    return int(text)


def parse(found: Found, text: str) -> Document:
    """Read what matters of the XML.

    Raises
    ------
    StackUnreadableError
        It is damaged, of more elements than any, or declares a document type.
    """
    document = Document()
    elements = depth = 0
    try:
        # Without a document type there are no entities, of whatever kind.
        source = io.BytesIO(text.lstrip("\ufeff \r\n\t").encode())
        parsed = iterparse(source, events=("start", "end"), forbid_dtd=True)
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
                _start(found, document, name, element)
            else:
                depth -= 1
                _end(found, document, name, element)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise found.contradiction(f"its OME-XML cannot be read ({error})") from error
    _name_cameras(document)
    return document


def name_beside(name: str, own: str) -> str:
    """Return what a file that OME-XML names is called beside the file ``own`` that says so.

    Some programs give the whole path that it was saved under.

    >>> name_beside("C:\\\\data\\\\set_1.ome.tif", "set_0.ome.tif")
    'set_1.ome.tif'
    """
    return name if name == own else re.split(r"[/\\]", name)[-1] or name


def _name_cameras(document: Document) -> None:
    """Give every channel the serial number of its detector; of several, it has to say which."""
    serials = document.detectors
    alone = next(iter(serials.values())) if len(serials) == 1 else ""
    for image in document.images if serials else ():
        for channel in image.channels:
            serial = serials.get(channel[_DETECTOR], "") if _DETECTOR in channel else alone
            if serial:
                channel[CAMERA_SERIAL] = serial


def _start(found: Found, document: Document, name: str, element: Element) -> None:
    """Read one opening element."""
    get = dict(element.attrib)
    if name == "OME":
        document.uuid = get.get("UUID", "")
    elif name == "BinaryOnly":
        document.metadata_file = name_beside(get.get("MetadataFile", ""), found.path.name)
    elif name == "Image":
        document.images.append(Image(get.get("Name", "")[:MAX_NAME]))
    elif name == "Detector" and len(document.detectors) < MAX_DETECTORS:
        serial = get.get("SerialNumber", "").strip()[:MAX_NAME]
        document.detectors[get.get("ID", "")[:MAX_NAME]] = serial
    elif not document.images:
        return
    image = document.images[-1] if document.images else Image()
    if name == "Pixels":
        image.pixels = get
    elif name == "Channel" and image.pixels:
        image.channels.append(get)
        image.samples = max(1, integer_of(found, get, "SamplesPerPixel", 1))
    elif name == "DetectorSettings" and image.channels:
        image.channels[-1][_DETECTOR] = get.get("ID", "")[:MAX_NAME]
    elif name == "Plane" and image.pixels:
        image.planes.append(get)
    elif name == "TiffData":
        first = {axis: integer_of(found, get, f"First{axis}", 0) for axis in "ZCT"}
        ifd = integer_of(found, get, "IFD", 0) if "IFD" in get else None
        count = integer_of(found, get, "PlaneCount", 0) if "PlaneCount" in get else None
        image.blocks.append(Block(first, ifd, count))


def _end(found: Found, document: Document, name: str, element: Element) -> None:
    """Read one closing element, whose text is there now; then let go of it."""
    image = document.images[-1] if document.images else None
    if name == "UUID" and image is not None and image.blocks:
        file = element.get("FileName")
        image.blocks[-1].file = file and name_beside(file, found.path.name)
        image.blocks[-1].uuid = (element.text or "").strip()
    elif name in ("AcquisitionDate", "AcquiredDate") and image is not None:
        image.acquired = (element.text or "").strip()
    if name != "OME":
        element.clear()
