"""Frames of a camera from TIFF files, and which two of them show one scene."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import (
    StackBusyError,
    StackError,
    StackRefusedError,
    StackUnreadableError,
    UsageError,
)
from live_restore.files.reading import open_regular
from live_restore.formats.micromanager.metadata import camera_serial
from live_restore.formats.tiff.layout import Found
from live_restore.formats.tiff.ome_xml import CAMERA_SERIAL, MAX_NAME, is_ome, parse

if TYPE_CHECKING:
    from live_restore.trust.photon_transfer import Pair

Frame = NDArray[np.generic]

# More tell no more: of 32 pairs of 512 x 512 the gain is known to a percent.
_MOST_PAIRS = 32
_MOST_FRAMES = 100
# A frame of the largest sensor; and of all frames of a file together, as they are in memory.
_MOST_PIXELS = 2**26
_MOST_BYTES = 2**31


def read_pairs(path: Path, channel: int | None = None) -> list[Pair]:
    """Return pairs of frames of one scene each: of two times, or else of two planes of a stack.

    No frame is in two pairs. At most 32, spread over the file.

    Parameters
    ----------
    path
        A TIFF file.
    channel
        Which one, from 0; of a file of several it must be given.

    Raises
    ------
    StackError
        There are no two such frames, or they cannot be read.
    UsageError
        The channel must be given, or is not there.
    """
    with _opened(path) as (pages, order, axes):
        order, axes = _channel_of(order, axes, channel, path)
        along = next((axis for axis in "TZQI" if axis in axes), None)
        if along is None or order.shape[axes.index(along)] < 2:
            raise StackRefusedError(
                "holds one frame only: noise shows between two", path, "record two at least"
            )
        order = np.moveaxis(order, axes.index(along), -1)
        even = order.shape[-1] // 2 * 2
        pairs = order[..., :even].reshape(-1, 2)
        chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, _MOST_PAIRS).astype(int))]
        _require_size(pages, chosen.size, path)
        return [(pages[one].asarray(), pages[other].asarray()) for one, other in chosen.tolist()]


@dataclass(frozen=True)
class RecordedBy:
    """What a file says of the camera of one of its channels, "" where it does not.

    ``channel`` is the channel's name, or its number as text; "" of a file that has one only.
    """

    serial: str = ""
    channel: str = ""


def recorded_by(path: Path, channel: int | None = None) -> RecordedBy:
    """Return which camera recorded a channel of a file, as OME-XML or Micro-Manager say it.

    Raises
    ------
    StackError
        It cannot be read.
    """
    number = channel or 0
    with _opened(path) as (pages, order, axes):
        page = pages[0]
        several = "C" in axes and order.shape[axes.index("C")] > 1
        said = page.description if page.index == 0 else ""
        tag = page.tags.get("MicroManagerMetadata")
        if several:
            first = int(order.take(number, axes.index("C")).ravel()[0])
            tag = pages[first].aspage().tags.get("MicroManagerMetadata")
    serial, names = "", []
    if is_ome(said):
        try:
            images = parse(Found(path, 1, 0, 0), said).described
        except StackError:
            images = []  # what is odd in it says nothing about the camera
        channels = images[0].channels if images else []
        names = [each.get("Name", "")[:MAX_NAME] for each in channels]
        if number < len(channels):
            serial = channels[number].get(CAMERA_SERIAL, "")
    if not serial and tag is not None and isinstance(tag.value, dict):
        serial = camera_serial(tag.value)
    name = names[number] if number < len(names) and names.count(names[number]) == 1 else ""
    return RecordedBy(serial, (name or str(number)) if several else "")


def read_dark(path: Path) -> list[Frame]:
    """Return the frames of a stack that was recorded without light, at most 100.

    Raises
    ------
    StackError
        They cannot be read, or hold what is no number.
    """
    with _opened(path) as (pages, order, _):
        chosen = order.ravel()[:_MOST_FRAMES].tolist()
        _require_size(pages, len(chosen), path)
        frames = [pages[index].asarray() for index in chosen]
    if not all(np.isfinite(frame).all() for frame in frames):
        raise StackRefusedError(
            "holds voxels that are not finite numbers",
            path,
            "give the frames as the camera wrote them",
        )
    return frames


def _channel_of(
    order: NDArray[np.intp], axes: str, channel: int | None, path: Path
) -> tuple[NDArray[np.intp], str]:
    at = axes.find("C")
    count = 1 if at < 0 else order.shape[at]
    if count > 1 and channel is None:
        raise UsageError(
            f"holds {count} channels, which may be of different cameras", path,
            f"say which one with --channel 0 to {count - 1}",
        )  # fmt: skip
    if channel is not None and channel >= count:
        raise UsageError(f"holds {count} channel(s), counted from 0", path, "name one of them")
    if at < 0:
        return order, axes
    return np.asarray(order.take(channel or 0, at)), axes[:at] + axes[at + 1 :]


def _require_size(pages: Any, count: int, path: Path) -> None:
    page = pages[0]
    if page.ndim != 2 or page.size > _MOST_PIXELS or count * page.nbytes > _MOST_BYTES:
        raise StackRefusedError(
            f"holds frames of {page.shape} that are not grey, or too large to compare",
            path,
            "crop it to one camera's grey frames",
        )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, NDArray[np.intp], str]]:
    """Open a TIFF file; yield its pages, their numbers by all axes but Y and X, and those axes."""
    from tifffile import TiffFile

    if path.is_dir():
        raise UsageError("is a folder", path, "name the TIFF files in it that hold the frames")
    try:
        with open_regular(path, buffered=True) as stream, TiffFile(stream, name=path.name) as tif:
            series = tif.series[0]
            if not series.axes.endswith("YX") or len(series.pages) != series.size // max(
                series.shape[-1] * series.shape[-2], 1
            ):
                raise StackRefusedError(
                    f"holds no plain grey frames (axes {series.axes})",
                    path,
                    "save one camera's frames as TIFF",
                )
            shape = series.shape[:-2]
            yield series.pages, np.arange(len(series.pages)).reshape(shape), series.axes[:-2]
    except FileNotFoundError as error:
        raise StackUnreadableError("does not exist", path, "check the name") from error
    except OSError as error:
        raise StackBusyError(
            f"cannot be read ({error.strerror})", path, "check the disk"
        ) from error
    except (
        ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, struct.error
    ) as error:  # fmt: skip
        # What tifffile and its decoders raise for damaged files.
        raise StackUnreadableError(
            f"is not a TIFF file that can be read: {error}", path, "record it again"
        ) from error
