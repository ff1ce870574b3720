"""Small files as Micro-Manager's writers lay them out, written piece by piece by the tests."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH = 4, 8


def directory(
    at: int,
    metadata: bytes,
    pixels: bytes,
    width: int = WIDTH,
    height: int = HEIGHT,
    samples: int = 1,
    bits: int = 16,
    following: int | None = None,
) -> bytes:
    """Return a TIFF directory at ``at``, its pixels and its metadata, as one piece."""
    count = 10
    pixels_at = at + 2 + count * 12 + 4
    metadata_at = pixels_at + len(pixels)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, pixels_at),
        (277, 3, 1, samples),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
        (51123, 2, len(metadata), metadata_at),
    ]
    end = metadata_at + len(metadata)
    packed = struct.pack("<H", count) + b"".join(struct.pack("<HHII", *e) for e in entries)
    packed += struct.pack("<I", end if following is None else following)
    return packed + pixels + metadata


def pixels(value: int, width: int = WIDTH, samples: int = 1, dtype: str = "<u2") -> bytes:
    """Return a plane of one value."""
    return np.full((HEIGHT, width, samples), value, dtype).tobytes()


class StackFile:
    """One image stack file that is being written.

    Parameters
    ----------
    path
        Its name.
    slices
        Planes per stack, in the summary.
    summary
        Further keys of the summary.
    """

    def __init__(self, path: Path, slices: int, summary: dict[str, Any] | None = None) -> None:
        self.path = path
        self.capacity = 1000
        text = json.dumps({"Slices": slices, "ChNames": ["DAPI"], **(summary or {})}).encode()
        self.map_at = 40 + len(text)
        self.end = self.map_at + 8 + 20 * self.capacity
        head = struct.pack(
            "<2sHIIIIIIIII",
            *(b"II", 42, self.end, 54773648, self.map_at, 0, 0, 0, 0, 2355492, len(text)),
        )
        start = head + text + struct.pack("<II", 3453623, self.capacity)
        path.write_bytes(start.ljust(self.end + 1_000_000, b"\0"))
        self.records = 0
        self.image_bytes = len(self._image(0))

    def _write(self, at: int, data: bytes) -> None:
        with self.path.open("r+b") as stream:
            stream.seek(at)
            stream.write(data)

    def _image(self, value: int, width: int = WIDTH, samples: int = 1) -> bytes:
        metadata = json.dumps({"PixelSizeUm": 0.1, "ZPositionUm": 0.5 * value}).encode() + b"\0"
        return directory(
            self.end, metadata, pixels(value, width, samples), width=width, samples=samples
        )

    def record(self, channel: int, z: int, time: int, position: int) -> None:
        """Write an index record; its image is not there yet."""
        record = struct.pack("<5I", channel, z, time, position, self.end)
        self._write(self.map_at + 8 + 20 * self.records, record)
        self.records += 1

    def image(self, value: int, upto: int | None = None, **shape: int) -> None:
        """Write the image of the last record, or the first bytes of it."""
        data = self._image(value, **shape)
        self._write(self.end, data[:upto])
        if upto is None:
            self.end += len(data)

    def skip_image(self) -> None:
        """Leave the place of an image empty."""
        self.end += self.image_bytes

    def plane(self, c: int, z: int, t: int, p: int, value: int, **shape: int) -> None:
        """Write a record and its image."""
        self.record(c, z, t, p)
        self.image(value, **shape)

    def finish(self) -> None:
        """Write what Micro-Manager writes at the end, and cut the reserved space off."""
        self._write(self.map_at + 4, struct.pack("<I", self.records))
        self._write(16, struct.pack("<II", 483765892, self.end))
        self._write(24, struct.pack("<II", 99384722, self.end))
        self._write(self.end, b"comment!")
        with self.path.open("r+b") as stream:
            stream.truncate(self.end + 8)


class NdTiff:
    """One NDTiff data set that is being written.

    Parameters
    ----------
    folder
        The data set.
    axes_in_metadata
        As pycromanager's Python writer does; without, the index tells, as Micro-Manager's does.
    """

    def __init__(
        self,
        folder: Path,
        summary: dict[str, Any] | None = None,
        axes_in_metadata: bool = False,
        major: int = 3,
        bits: int = 16,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.axes_in_metadata, self.bits, self.major = (
            folder,
            axes_in_metadata,
            bits,
            major,
        )
        self.summary = json.dumps(summary or {}).encode()
        self.index = folder / "NDTiff.index"
        self.index.write_bytes(b"" if axes_in_metadata else bytes(100_000))
        self.index_end = 0
        self.files = 0
        self.new_file()

    def new_file(self) -> None:
        """Begin the next TIFF file, reserved at 4 GiB."""
        suffix = f"_{self.files}" if self.files else ""
        self.path = self.folder / f"run_NDTiffStack{suffix}.tif"
        self.files += 1
        versions = (self.major,) if self.major < 3 else (self.major, 2)
        length = len(self.summary)
        self.end = 4 * (7 + len(versions) - 2) + length
        self.end += 4 - self.end % 4
        head = struct.pack("<2sHII", b"II", 42, self.end, 483729)
        head += struct.pack(f"<{len(versions)}I", *versions)
        head += struct.pack("<II", 2355492, length) + self.summary
        self.end = max(self.end, len(head))
        head = head[:4] + struct.pack("<I", self.end) + head[8:]
        self.path.write_bytes(head)
        with self.path.open("r+b") as stream:
            stream.truncate(2**32)
        self.last = 0

    def image(self, value: int, upto: int | None = None, **axes: int | str) -> bytes:
        """Write an image; return its index entry, which is not written yet."""
        metadata: dict[str, Any] = {"PixelSize_um": 0.1, "Exposure": 20.0}
        metadata["ZPosition_um_Intended"] = 0.25 * int(axes.get("z", 0))
        if self.axes_in_metadata:
            metadata["Axes"] = axes
        text = json.dumps(metadata).encode()
        data = pixels(value, dtype="<u2" if self.bits == 16 else "u1")
        # The Python writer says 16 bits whatever they are.
        whole = directory(self.end, text, data)
        with self.path.open("r+b") as stream:
            stream.seek(self.end)
            stream.write(whole[:upto])
        at = self.end + 2 + 10 * 12 + 4
        entry = self.entry(axes, at, len(data), len(text))
        if upto is None:
            self.last = self.end
            self.end += len(whole)
        return entry

    def entry(self, axes: dict[str, Any], at: int, size: int, length: int) -> bytes:
        """Return an index entry."""
        key, name = json.dumps(axes).encode(), self.path.name.encode()
        kind = 1 if self.bits == 16 else 0
        return (
            struct.pack("<I", len(key))
            + key
            + struct.pack("<I", len(name))
            + name
            + struct.pack("<8I", at, WIDTH, HEIGHT, kind, 0, at + size, length, 0)
        )

    def write_index(self, entry: bytes) -> None:
        """Write an index entry."""
        with self.index.open("r+b") as stream:
            stream.seek(self.index_end)
            stream.write(entry)
        self.index_end += len(entry)

    def plane(self, value: int, **axes: int | str) -> None:
        """Write an image and its index entry."""
        self.write_index(self.image(value, **axes))

    def finish_file(self) -> None:
        """End the chain of directories and cut the reserved space off."""
        with self.path.open("r+b") as stream:
            stream.seek(self.last + 2 + 10 * 12)
            stream.write(struct.pack("<I", 0))
            stream.truncate(self.end)

    def finish(self) -> None:
        """End the data set."""
        self.finish_file()
        with self.index.open("r+b") as stream:
            stream.truncate(self.index_end)
