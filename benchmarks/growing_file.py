"""What looking at one TIFF file costs while it grows to tens of thousands of planes.

    python benchmarks/growing_file.py --planes 30000 --seconds 60

A writer appends planes of 32 x 32 voxels in bursts, each plane with its directory, and pauses
between them for longer than a file must be at rest to be looked into; the first directory's OME-XML
declares all of them as stacks of five planes. The source looks as it does in the daemon;
nothing is restored. Printed: the share of a core that looking took, in each fifth of the time
(a share that grows with the file is a walk that begins anew), and how far behind the source was
with the stacks that were whole.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.journal.journal import Journal
from live_restore.settings.load import load_settings
from live_restore.sources.folder import FolderSource

DEPTH, EDGE, PARTS = 5, 32, 5
BURST_S = 0.6


def ome(planes: int) -> bytes:
    """Return OME-XML that names every plane, as most writers do."""
    named = "".join(
        f'<TiffData FirstZ="{n % DEPTH}" FirstT="{n // DEPTH}" FirstC="0" IFD="{n}" '
        'PlaneCount="1"/>'
        for n in range(planes)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{EDGE}" '
        f'SizeY="{EDGE}" SizeZ="{DEPTH}" SizeC="1" SizeT="{planes // DEPTH}">{named}'
        "</Pixels></Image></OME>"
    ).encode()


def write(path: Path, planes: int, seconds: float) -> None:
    """Append planes in bursts, each behind a directory that the one before it names."""
    text = ome(planes) + b"\0"
    plane = np.random.default_rng(0).integers(90, 4000, (EDGE, EDGE)).astype("<u2").tobytes()
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        at = 16 + len(text) + -len(text) % 8
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, at) + text.ljust(at - 16, b"\0"))
        pointer = 0
        for number in range(planes):
            entries = [(256, 4, 1, EDGE), (257, 4, 1, EDGE), (258, 3, 1, 16), (259, 3, 1, 1),
                       (262, 3, 1, 1), (273, 16, 1, 0), (277, 3, 1, 1), (278, 4, 1, EDGE),
                       (279, 16, 1, len(plane))]  # fmt: skip
            if number == 0:
                entries.insert(5, (270, 2, len(text), 16))
            pixels = at + 8 + 20 * len(entries) + 8
            packed = b"".join(
                struct.pack("<HHQQ", tag, kind, count, pixels if tag == 273 else value)
                for tag, kind, count, value in entries
            )
            file.seek(at)
            file.write(struct.pack("<Q", len(entries)) + packed + bytes(8) + plane)
            if pointer:
                file.seek(pointer)
                file.write(struct.pack("<Q", at))
            pointer, at = pixels - 8, pixels + len(plane)
            due = began + seconds * (number + 1) / planes
            if due > time.perf_counter() + BURST_S:
                time.sleep(BURST_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planes", type=int, default=30_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = folder / "watched"
        root.mkdir()
        journal = Journal(folder / "j.sqlite", root, recipe="r")
        source = FolderSource(
            root, make_formats(), make_acquisition_formats(), journal, load_settings(None, {})
        )
        args = (root / "run.ome.tif", arguments.planes, arguments.seconds)
        writer = threading.Thread(target=write, args=args)
        writer.start()
        for part in range(PARTS):
            began, worked = time.perf_counter(), time.thread_time()
            while time.perf_counter() < began + arguments.seconds / PARTS:
                source.wait(min(source.poll(), 0.5))
            share = (time.thread_time() - worked) / (time.perf_counter() - began)
            due = arguments.planes * (part + 1) // PARTS // DEPTH
            found = max((entry.stacks for entry in journal.entries()), default=0)
            print(f"{due * DEPTH:6d} planes: {share:6.1%} of a core, {found} of {due} stacks found")
        writer.join()
        journal.close()


if __name__ == "__main__":
    main()
