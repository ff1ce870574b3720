"""A replayed acquisition: raw stacks, and the ways in which their bytes reach the disk."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

SHAPE_ZYX = (4, 48, 56)
POISON_PLANES = 5
"""A stack of so many planes is one that faults can be aimed at."""

Arrival = Callable[[Path, bytes], None]


@dataclass(frozen=True)
class RawStack:
    """A raw stack: its name, and the bytes of its file."""

    name: str
    content: bytes

    @property
    def volume(self) -> np.ndarray:
        """Its voxels, (Z, Y, X)."""
        return np.asarray(tifffile.imread(io.BytesIO(self.content)))


def raw_stack(name: str, seed: int, shape_zyx: tuple[int, int, int] = SHAPE_ZYX) -> RawStack:
    """Return a noisy stack that declares its planes; none of them is zero anywhere."""
    rng = np.random.default_rng(seed)
    volume = (rng.poisson(20, shape_zyx) + 1).astype(np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, volume, photometric="minisblack", metadata={"axes": "ZYX"})
    return RawStack(name, stream.getvalue())


def raw_stacks(number: int, first_seed: int = 0) -> list[RawStack]:
    """Return several small ones, ``s000.tif`` and so on."""
    return [raw_stack(f"s{n:03d}.tif", first_seed + n) for n in range(number)]


# Ways to arrive ---------------------------------------------------------------------------------


def at_once(path: Path, content: bytes) -> None:
    """Write it in one go."""
    path.write_bytes(content)


def slowly(path: Path, content: bytes, seconds: float = 0.6, pieces: int = 6) -> None:
    """Write it piece by piece, as a slow copy does."""
    edges = np.linspace(0, len(content), pieces + 1).astype(int)
    with path.open("wb") as file:
        for begin, end in itertools.pairwise(edges):
            time.sleep(seconds / pieces)  # before the piece: the end of this is its last byte
            file.write(content[begin:end])
            file.flush()


def paused(path: Path, content: bytes) -> None:
    """Stop for longer than any quiet that is waited for, in the middle of a plane, then go on."""
    slowly(path, content, seconds=2.4, pieces=2)


def pre_allocated(path: Path, content: bytes) -> None:
    """Reserve the whole file, write its structure, then fill in the planes one after the other.

    After the first one its writer rests for longer than any quiet that is waited for.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        pixels = tiff.series[0].dataoffset
        assert pixels is not None
        size = tiff.series[0].nbytes
    with path.open("wb") as file:
        file.truncate(len(content))
        file.write(content[:pixels])
        file.seek(pixels + size)
        file.write(content[pixels + size :])
        file.flush()
        plane = size // SHAPE_ZYX[0]
        for begin in range(pixels, pixels + size, plane):
            time.sleep(1.2 if begin == pixels + plane else 0.15)
            file.seek(begin)
            file.write(content[begin : min(begin + plane, pixels + size)])
            file.flush()


def renamed_into_place(path: Path, content: bytes) -> None:
    """Write it under a name that is no stack's, then rename it."""
    partial = path.with_suffix(".partial")
    slowly(partial, content, seconds=0.3)
    partial.rename(path)


def interrupted(path: Path, content: bytes) -> None:
    """Stop in the middle, for ever."""
    path.write_bytes(content[: len(content) * 2 // 3])


class Player:
    """Writes stacks into a folder from a thread of its own.

    Parameters
    ----------
    folder
        Where they arrive.
    arrivals
        Each stack and the way it arrives, in order.
    gap_s
        From the end of one to the beginning of the next (s); 0 for a burst.

    Attributes
    ----------
    arrived, early
        What is there, and the names of those that were restored before their last byte.
    """

    def __init__(
        self, folder: Path, arrivals: list[tuple[RawStack, Arrival]], gap_s: float = 0.0
    ) -> None:
        self._folder, self._arrivals, self._gap_s = folder, arrivals, gap_s
        self._stop = threading.Event()
        self.arrived: list[RawStack] = []
        self.early: list[str] = []
        self._thread = threading.Thread(target=self._play, name="player")

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self) -> None:
        """Wait until all have arrived."""
        self._thread.join()

    def _play(self) -> None:
        for stack, arrive in self._arrivals:
            arrive(self._folder / stack.name, stack.content)
            if (self._folder / "restored" / f"{Path(stack.name).stem}.json").exists():
                self.early.append(stack.name)
            self.arrived.append(stack)
            if self._stop.wait(self._gap_s):
                return
