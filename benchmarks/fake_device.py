"""A device that is as fast as one likes: what is left is what the host costs.

A backend behind the usual seam, found by its entry point ("fake"). It hands every tile back as it
came, after a time that a device of ``HOST_RATE`` million voxels per second would take (0: at once),
which costs no processor time. With ``HOST_CLOCK`` it also measures what each stage of the pipeline
costs the processor, and writes it there when the process ends. ``host.py`` starts such processes.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Device, Floats, Shape5

try:
    from live_restore.inference.backends.session import Counts, InCounts, Scale
except ImportError:  # in an older checkout, which does not ask for them
    Counts = InCounts = Scale = Any  # type: ignore[misc]

STAGES = {
    "known answer": ["inference.device.check:Checker.checked"],
    "find": ["formats.tiff.tiff_format:TiffFormat.inspect",
             "formats.tiff.tiff_format:TiffFormat.inspect_growing"],
    "read": ["formats.tiff.reader:TiffReader.read_planes",
             "formats.tiff.tiff_format:TiffFormat.open"],
    "defects": ["inference.image.defects:find_defects", "inference.image.defects:without_defects"],
    "percentiles": ["inference.restorer:Restorer._scale"],
    "normalise": ["inference.image.intensity:IntensityScale.normalise"],
    "network": ["fake_device:FakeSession.run", "fake_device:FakeCountsSession.run_counts"],
    "blend": ["inference.image.tiling:run_tiled"],
    "unscale": ["inference.image.finished:finished_volume"],
    "checksum": ["stack:checksum_of"],
    "statistics": ["trust.statistics:image_statistics", "trust.statistics:statistics_of",
                   "inference.image.grey_values:GreyValues.of"],
    "SNR": ["trust.snr:estimate_snr"],
    "brightness": ["inference.image.flux:flux_bias"],
    "sharpness": ["trust.sharpness:sharpness"],
    "begin": ["outputs.ome_tiff:OmeTiffOutput.choose", "outputs.ome_tiff:OmeTiffOutput.begin"],
    "write": ["outputs.ome_tiff:OmeTiffWriter.write", "files.disk:Disk.sync"],
    "read back": ["outputs.ome_tiff:OmeTiffWriter.check"],
    "report": ["outputs.report:Report.add", "outputs.report:Report.publish"],
    "journal": ["journal.journal:Journal.lease", "journal.journal:Journal.finish",
                "journal.journal:Journal.record", "journal.journal:Journal.waits"],
}  # fmt: skip
"""Functions whose own time counts for a stage: less what others of these take inside them. Those
that a checkout lacks are passed by, so that an older one can be measured as well."""


class Clock:
    """Own processor time of stages, by thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._lock = threading.Lock()
        self._inside = threading.local()
        for stage, functions in STAGES.items():
            for function in functions:
                self._install(stage, function)
        atexit.register(self._write)

    def _install(self, stage: str, function: str) -> None:
        module_name, _, name = function.partition(":")
        if module_name != "fake_device":
            module_name = f"live_restore.{module_name}"
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError:  # in an older checkout
            return
        owner, _, method = name.rpartition(".")
        holder: Any = getattr(module, owner, None) if owner else module
        original = getattr(holder, method, None)
        if original is None:
            return
        timed = self._timed(stage, original)
        setattr(holder, method, timed)
        for other in () if owner else list(sys.modules.values()):
            for name_there, value in list(getattr(other, "__dict__", {}).items()):
                if value is original:  # where it was imported by its name
                    setattr(other, name_there, timed)

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            above = getattr(self._inside, "seconds", 0.0)
            self._inside.seconds = 0.0
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.thread_time() - began
                key = stage, threading.current_thread().name.partition("_")[0]
                with self._lock:
                    self._seconds[key] += taken - self._inside.seconds
                self._inside.seconds = above + taken

        return timed

    def _write(self) -> None:
        rows = [[*key, seconds] for key, seconds in self._seconds.items()]
        self._path.write_text(json.dumps({"process_s": time.process_time(), "stages": rows}))


class FakeSession:
    """Gives tiles back."""

    def __init__(self, device: Device, voxels_per_s: float) -> None:
        self.device = device
        self._voxels_per_s = voxels_per_s

    def run(self, tile: Floats) -> Floats:
        """Return the tile."""
        self.wait_for(tile.size)
        return tile

    def wait_for(self, voxels: int) -> None:
        """Take the time of the device."""
        if self._voxels_per_s:
            time.sleep(voxels / self._voxels_per_s)


class FakeCountsSession:
    """The same of grey values, which the processor then neither scales nor rounds."""

    def __init__(self, session: FakeSession) -> None:
        self.device = session.device
        self._session = session

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts:
        """Return the tile."""
        del scale
        self._session.wait_for(tile.size)
        return InCounts(tile.copy(), 0, 0)


class FakeDevice:
    """The backend "fake": counts as a GPU, so that two workers share it."""

    name = "fake"
    on_cpu = False

    def __init__(self) -> None:
        self._clock: Clock | None = None

    def obstacle(self) -> str:
        """There is none."""
        return ""

    def precisions(self) -> tuple[str, ...]:
        """Return what it passes on."""
        return ("fp32",)

    def version(self) -> str:
        """Return a version."""
        return "fake 1"

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> FakeSession:
        """Return a session."""
        del source, shape, index, limits
        clock = os.environ.get("HOST_CLOCK")
        if clock and self._clock is None:  # by now all that is to be measured is imported
            for module in ("engine.daemon", "outputs.ome_tiff", "journal.journal"):
                importlib.import_module(f"live_restore.{module}")
            self._clock = Clock(Path(clock))
        memory = int(float(os.environ.get("HOST_MEMORY_GB", "16")) * 1e9)
        device = Device("fake", "fake", "fake", precision, memory_bytes=memory, on_gpu=True)
        return FakeSession(device, float(os.environ.get("HOST_RATE", "0")) * 1e6)

    def open_counts(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> FakeCountsSession:
        """Return a session that takes grey values, as a CUDA device has one."""
        return FakeCountsSession(self.open(source, shape, precision, index, limits))
