"""Which planes of an OME-TIFF are there: its OME-XML names those, and no others. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_TIFF_DATA = re.compile(r"<TiffData [^<>]*/>")


def dimension_order(axes: str) -> str:
    """Return OME's name for the order of axes, fastest first.

    Examples
    --------
    >>> dimension_order("TZCYX"), dimension_order("ZYX")
    ('XYCZT', 'XYZCT')
    """
    order = axes[::-1].upper()
    return order + "".join(axis for axis in "ZCT" if axis not in order)


def tiff_data(
    order: str, sizes: Mapping[str, int], directories: Iterable[tuple[int, Mapping[str, int]]]
) -> str:
    """Return the ``TiffData`` elements of one image.

    Parameters
    ----------
    order
        Its ``DimensionOrder``.
    sizes
        Its lengths along Z, C and T.
    directories
        The number of each directory, and the place (Z, C, T) of its plane; ascending.

    Examples
    --------
    The second of three time points of two planes is not there:

    >>> planes = [(0, {"T": 0, "Z": 0}), (1, {"T": 0, "Z": 1}), (2, {"T": 2, "Z": 0})]
    >>> print(tiff_data("XYZCT", {"T": 3, "C": 1, "Z": 2}, planes).replace("><", ">\\n<"))
    <TiffData FirstZ="0" FirstC="0" FirstT="0" IFD="0" PlaneCount="2"/>
    <TiffData FirstZ="0" FirstC="0" FirstT="2" IFD="2" PlaneCount="1"/>
    >>> tiff_data("XYZCT", {"T": 3, "C": 1, "Z": 2}, [])
    '<MetadataOnly/>'
    """
    axes = order[2:]
    runs: list[list[int]] = []
    for directory, place in directories:
        number, step = 0, 1
        for axis in axes:
            number += step * place.get(axis, 0)
            step *= sizes[axis]
        if runs and (number, directory) == (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]):
            runs[-1][2] += 1
        else:
            runs.append([number, directory, 1])
    elements = []
    for number, directory, count in runs:
        first, left = {}, number
        for axis in axes:
            left, first[axis] = divmod(left, sizes[axis])
        where = " ".join(f'First{axis}="{first[axis]}"' for axis in "ZCT")
        elements.append(f'<TiffData {where} IFD="{directory}" PlaneCount="{count}"/>')
    return "".join(elements) or "<MetadataOnly/>"


def naming_planes(xml: str, of_images: Sequence[str]) -> str:
    """Return OME-XML of tifffile, which names all planes of each image, with others named."""
    elements = iter(of_images)
    return _TIFF_DATA.sub(lambda _: next(elements), xml, count=len(of_images))
