"""What the header of one plane's file says beyond its pixels. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import unescape
from pathlib import Path

from live_restore.errors import StackUnreadableError
from live_restore.formats.tiff.calibration import voxel_size
from live_restore.formats.tiff.layout import Found, fields_of
from live_restore.formats.tiff.ome_metadata import voxel_of
from live_restore.formats.tiff.ome_xml import is_ome, name_beside, parse
from live_restore.formats.tiff.page import Structure
from live_restore.stack import VoxelSize

_NAMES_A_FILE = re.compile(r"""\s(FileName|MetadataFile)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def is_part_of_a_set(descriptions: Sequence[str], own: str, names: Collection[str]) -> bool:
    """Return whether OME-XML spreads an image over files: then it decides which plane is which.

    A file that was renamed names itself by its old name: only files that are there count. Where
    the XML lies in a companion file, nothing else says what this one is.

    Parameters
    ----------
    descriptions
        Of the first directory.
    own
        The file's name.
    names
        Of what lies in its folder.

    Examples
    --------
    >>> text = '<OME><UUID FileName="{}">urn:uuid:1</UUID></OME>'
    >>> there = ["a.tif", "b.tif"]
    >>> [is_part_of_a_set([text.format(each)], "a.tif", there) for each in there]
    [False, True]
    """
    for text in descriptions:
        if not is_ome(text):
            continue
        # Found one by one: the XML of ten thousand planes need not be parsed at every scan.
        for match in _NAMES_A_FILE.finditer(text):
            name = name_beside(unescape(match[2] or match[3] or ""), own)
            if match[1] == "MetadataFile" or (name != own and name in names):
                return True
    return False


def voxel_of_plane(structure: Structure, path: Path) -> VoxelSize:
    """Return the pixel size (and the z step, where it is given) that the header of a plane tells.

    By OME-XML, ImageJ's fields and TIFF's resolution. XML that is damaged tells nothing: which
    plane it is, the name says.

    Parameters
    ----------
    structure
        Of the file.
    path
        Its name, for messages.
    """
    text = next(iter(structure.descriptions), "")
    fields = fields_of(text) if text.startswith("ImageJ=") else {}
    voxel = voxel_size(structure.resolution, structure.resolution_unit, fields)
    if is_ome(text):
        try:
            images = parse(Found(path, 1, 0, 0), text).described
        except StackUnreadableError:
            return voxel
        if images:
            voxel, _, _ = voxel_of(images[0], voxel)
    return voxel
