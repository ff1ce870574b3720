"""Reading results back, plane by plane, for people to look at: what each output lays out how.

A restored TIFF is this program's own and lies plane after plane: one plane is one read. So do the
planes of each stack of one that grows. A growing image has a chunk per plane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import LiveRestoreError, StackUnreadableError
from live_restore.files.raw_data import read_at
from live_restore.files.reading import open_regular
from live_restore.installation import install_with
from live_restore.outputs.growing_tiff import HeldStack, contents_of
from live_restore.stack import StackIndex, plane_number

Plane = NDArray[np.generic]

_NOT_HELD = HeldStack(0, 0, 0)


class ResultPlanes:
    """Planes (Y, X) of one stack of a result, read one by one; a context.

    Parameters
    ----------
    path
        The image.
    axes, sizes_ptc, shape_zyx
        As its report says: axes from slowest to fastest; positions, times and channels; the stack.
    in_file
        Which stack of the image, where it is a file.
    first_plane
        How many planes its earlier positions have.
    in_run
        Which stack of the acquisition, where the image grows.

    Raises
    ------
    LiveRestoreError
        From every method: it cannot be read, or is not what its report says.
    """

    def __init__(
        self,
        path: Path,
        axes: str,
        sizes_ptc: tuple[int, int, int],
        shape_zyx: tuple[int, int, int],
        in_file: StackIndex,
        in_run: StackIndex,
        first_plane: int = 0,
    ) -> None:
        self._path = path
        self._axes = axes
        self._sizes_ptc = sizes_ptc
        self._shape_zyx = shape_zyx
        self._in_file = in_file
        self._in_run = in_run
        self._first_plane = first_plane
        self._plane: Callable[[int], Plane]
        self._close: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        try:
            if self._path.name.endswith(".ome.zarr"):
                self._open_zarr()
            else:
                self._open_tiff()
        except LiveRestoreError:
            raise
        except Exception as error:  # tifffile and zarr raise what they like of damaged files
            raise StackUnreadableError(
                f"the result cannot be read ({type(error).__name__})", self._path.name,
                "restore it again with live-restore watch --redo-missing",
            ) from error  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def plane(self, z: int) -> Plane:
        """Return one plane across z."""
        if not 0 <= z < self._shape_zyx[0]:
            raise StackUnreadableError("has no such plane", self._path.name)
        try:
            plane = self._plane(z)
        except (OSError, ValueError, KeyError) as error:
            raise StackUnreadableError("the result cannot be read", self._path.name) from error
        if plane.shape != self._shape_zyx[1:]:
            raise StackUnreadableError("the result is of another shape", self._path.name)
        return plane

    def planes(self) -> Iterator[Plane]:
        """Yield every plane across z."""
        return map(self.plane, range(self._shape_zyx[0]))

    def _open_zarr(self) -> None:
        try:
            import zarr
        except ImportError as error:
            raise StackUnreadableError(
                "results in OME-Zarr need the package zarr", self._path.name,
                install_with("zarr"),
            ) from error  # fmt: skip
        array: Any = zarr.open_array(str(self._path / "0"), mode="r")
        self._plane = lambda z: np.asarray(array[self._in_run.time, self._in_run.channel, z])

    def _open_tiff(self) -> None:
        import tifffile

        at = self._in_file
        stream = open_regular(self._path)
        self._close = stream.close
        try:
            with tifffile.TiffFile(stream, name=self._path.name, _multifile=False) as tif:
                series = tif.series[at.position]
                offset, dtype = series.dataoffset, np.dtype(series.dtype)
                order = tif.byteorder
                grown = contents_of(self._path)
                held = None if grown is None else grown.stacks.get(at, _NOT_HELD)
                if held is not None:  # its planes lie one behind the other
                    offset = tif.pages[held.directory].dataoffsets[0] if held.planes else None
                elif offset is None:  # laid out for stacks that were left out, too
                    offset = tif.pages[self._first_plane].dataoffsets[0]
        except BaseException:
            stream.close()
            raise
        if offset is None or dtype.kind not in "uif":
            stream.close()
            raise StackUnreadableError("the result is laid out in another way", self._path.name)
        _, times, channels = self._sizes_ptc
        sizes = {"T": times, "C": channels, "Z": self._shape_zyx[0]}
        height, width = self._shape_zyx[1:]
        count = height * width * dtype.itemsize

        def plane(z: int) -> Plane:
            place = {"T": at.time, "C": at.channel, "Z": z}
            number = plane_number(self._axes, sizes, place)
            if held is not None:
                number = z - held.first_z
                if not 0 <= number < held.planes:
                    raise ValueError("a plane that is not there")
            data = read_at(stream, offset + number * count, count)
            read = np.frombuffer(data, dtype.newbyteorder(order)).reshape(height, width)
            return read.astype(dtype, copy=False)

        self._plane = plane
