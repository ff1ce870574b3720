"""Small runs for the page: recorded, restored by a real process with a network of one operator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from starlette.testclient import TestClient

from live_restore.journal.location import journal_path
from live_restore.page.server import Address, guarded
from tests.support.models import CARD, write_model
from tests.support.nursery import CAN_FORK, ForkedProcess, nursery
from tests.support.processes import PATIENCE_S, environment, run_command, wait_for
from tests.support.systems import WINDOWS

Pixels = NDArray[np.uint16]
# Windows has no file names with angle brackets.
HOSTILE = "&lt;img src=x onerror=alert(1)&gt;" if WINDOWS else "<img src=x onerror=alert(1)>"
CHANNELS = ("GFP", "mCherry")
SHAPE = (4, 40, 56)
_ENVELOPE = {"snr": [0.5, 90.0], "limits": {}, "measured": "by a test"}


@dataclass(frozen=True)
class Recorded:
    """A restored run."""

    root: Path
    state: Path
    model: Path

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return journal_path(self.root, self.state)


def spots(seed: int, shape: tuple[int, int, int] = SHAPE, peak: float = 400.0) -> Pixels:
    """Return a stack (Z, Y, X) of bright spots on a noisy background."""
    rng = np.random.default_rng(seed)
    light = np.full(shape, 5.0)
    z, y, x = np.indices(shape)
    for _ in range(12):
        centre = rng.random(3) * shape
        light += peak * np.exp(
            -(((z - centre[0]) / 1.2) ** 2 + ((y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 5)
        )
    return np.asarray(rng.poisson(light) + 100, np.uint16)


def write_file(path: Path, stack: Pixels, z_um: float = 0.3, **metadata: Any) -> None:
    """Write an OME-TIFF with a voxel size."""
    told = {"axes": "ZYX", "PhysicalSizeZ": z_um, "PhysicalSizeY": 0.1, "PhysicalSizeX": 0.1}
    tifffile.imwrite(path, stack, ome=True, photometric="minisblack", metadata=told | metadata)


class SeparateImages:
    """An acquisition of Micro-Manager's separate images that is being written.

    Parameters
    ----------
    folder
        The acquisition.
    positions, times
        As planned.
    """

    def __init__(self, folder: Path, positions: int, times: int) -> None:
        self.folder = folder
        self.positions, self.times = positions, times
        summary = {
            "Frames": times,
            "Slices": SHAPE[0],
            "ChNames": CHANNELS,
            "z-step_um": 0.3,
            "StagePositions": [{"Label": f"Pos{p}"} for p in range(positions)],
            "MdaSettings": json.dumps(
                {
                    "channels": [{"config": name} for name in CHANNELS],
                    "slices": list(range(SHAPE[0])),
                }
            ),
        }
        self._texts = ['{\n"Summary": ' + json.dumps(summary, indent=2)] * positions

    def stack(self, position: int, time: int, channel: int) -> Pixels:
        """Return the stack as it is recorded."""
        return spots(100 * position + 10 * time + channel)

    def record(self, time: int) -> None:
        """Write one time point of every position."""
        for position in range(self.positions):
            place = self.folder / f"Pos{position}"
            place.mkdir(parents=True, exist_ok=True)
            for channel in range(len(CHANNELS)):
                for z, plane in enumerate(self.stack(position, time, channel)):
                    name = (
                        f"img_channel{channel:03}_position{position:03}_time{time:09}_z{z:03}.tif"
                    )
                    tifffile.imwrite(place / name, plane, photometric="minisblack")
                    image = {
                        "PixelSizeUm": 0.1,
                        "ChannelIndex": channel,
                        "SliceIndex": z,
                        "FrameIndex": time,
                        "PositionIndex": position,
                        "ZPositionUm": 0.3 * z,
                    }
                    self._texts[position] += f',\n"Metadata-Pos{position}/{name}": ' + json.dumps(
                        image, indent=2
                    )
            (place / "metadata.txt").write_text(self._texts[position] + "\n}\n")


def small_model(folder: Path) -> Path:
    """Write a network that changes what it is given, with a card that doubts odd voxels."""
    trained = {"z": [0.2, 0.4], "xy": [0.08, 0.12]}
    card = {**CARD, "trained_voxel_um": trained, "envelope": _ENVELOPE}
    return write_model(folder / "page.onnx", card=card, operator="Tanh")


def record_and_restore(folder: Path) -> Recorded:
    """Record files and an acquisition, and restore what can be."""
    recorded = Recorded(folder / "run", folder / "state", small_model(folder))
    files = recorded.root / "files"
    files.mkdir(parents=True)
    for time_point in range(3):
        write_file(files / f"cell_t{time_point:03d}.ome.tif", spots(time_point))
    write_file(files / "odd voxels.ome.tif", spots(7), z_um=3.0)
    write_file(files / f"{HOSTILE}.ome.tif", spots(8), Channel={"Name": ["<b>bold</b>"]})
    (files / "broken.tif").write_bytes(b"no TIFF at all " * 100)
    night = SeparateImages(recorded.root / "night_1", positions=2, times=3)
    for time_point in range(night.times):
        night.record(time_point)
    done = run_command(
        recorded.state, "watch", recorded.root, "--once", "--model", recorded.model,
        "--device", "cpu",
    )  # fmt: skip
    assert "17 restored" in done.stderr, done.stderr
    return recorded


@contextmanager
def client_of(root: Path, journal: Path, **options: Any) -> Iterator[TestClient]:
    """Run the application in this process."""
    host = options.pop("host", "127.0.0.1")
    app = guarded(root, journal, Address(host, 8765), **options)
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        wait_for(lambda: client.get("/api/run").json()["reading_reports"] == 0, "the reports", 20)
        yield client


def entries(client: TestClient) -> list[dict[str, Any]]:
    """Return every entry."""
    return list(client.get("/api/entries").json()["entries"])


def named(client: TestClient, name: str) -> dict[str, Any]:
    """Return the entry of a file."""
    (found,) = [each for each in entries(client) if each["name"] == name]
    return found


@contextmanager
def page_process(
    recorded: Recorded, *more: str, port: int = 0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``live-restore page`` as a real process; give it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "live_restore", "page", str(recorded.root),
         "--port", str(port), *more],
        env=environment(recorded.state),
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("page: http://"), line
        yield process, line.removeprefix("page: ").strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextmanager
def forked_page(
    recorded: Recorded, *, port: int = 0
) -> Iterator[tuple[subprocess.Popen[str] | ForkedProcess, str]]:
    """Run it without a start of its own, which takes longer than most of what is asked of it."""
    if not CAN_FORK:
        with page_process(recorded, port=port) as found:
            yield found
        return
    log = recorded.state / f"page-{time.monotonic_ns()}.log"
    process = nursery().start(
        ["page", str(recorded.root), "--port", str(port)],
        environment(recorded.state),
        log=log,
        preload=["live_restore.page.server", "uvicorn"],
    )

    def address() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return re.search(r"^page: (http://\S+)\n", log.read_text()) if log.exists() else None

    try:
        wait_for(lambda: address() is not None, "the page", 60)
        found_at = address()
        assert found_at is not None
        yield process, found_at[1]
    finally:
        process.kill()
        process.wait()
        log.unlink()


def fetched(url: str) -> Any:
    """Return what an address answers, as JSON."""
    return json.loads(fetched_bytes(url))


def fetched_bytes(url: str) -> bytes:
    """Return what an address answers."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())


def resident_mb(process: subprocess.Popen[str]) -> float:
    """Return the memory of a process (MB)."""
    import psutil

    return float(psutil.Process(process.pid).memory_info().rss / 1e6)
