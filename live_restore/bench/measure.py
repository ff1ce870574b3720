"""One device in one precision: network alone, restorer, whole pipeline, and the ceiling."""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog

from live_restore.bench.work import CHAIN, flop_per_voxel, matrix_product_model
from live_restore.engine.daemon import Daemon, open_daemon_journal
from live_restore.errors import LiveRestoreError
from live_restore.inference.backends.backend import Backend, Limits, ModelSource
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.check import known_tile, small_shape
from live_restore.inference.device.tile_size import largest_tile_voxels
from live_restore.inference.load import load_model
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import ModelRule, Settings
from live_restore.simulation.microscope import record
from live_restore.simulation.scene import LivingCell

_ROUNDS = 3
_LONGEST_S = 6.0
_STACKS = 4
# Large enough that the product, and not its start, is measured; a second on two cores.
_MATRIX_CPU, _MATRIX_GPU = 2048, 4096


@dataclass(frozen=True)
class Rates:
    """What one device did in one precision; rates in Mvoxel/s, ``None`` where unknown.

    ``busy`` is the share of the pipeline's time in which the network ran; ``share_of_ceiling``
    compares the network's arithmetic with that of matrix products in the same library and
    precision. ``error``: why there are no numbers.
    """

    device: str
    precision: str
    hardware: str = ""
    tile_zyx: tuple[int, int, int] = (0, 0, 0)
    network: float = 0.0
    restorer: float = 0.0
    pipeline: float = 0.0
    busy: float = 0.0
    peak_memory_mb: float = 0.0
    gflops: float | None = None
    ceiling_gflops: float = 0.0
    share_of_ceiling: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Bench:
    """What to measure: a model on stacks of one shape."""

    model: Path
    shape_zyx: tuple[int, int, int]
    settings: Settings


class _InOnePrecision:
    """A backend that offers a single precision, so that there is nothing to choose."""

    def __init__(self, backend: Backend, precision: str) -> None:
        self.name = backend.name
        self.on_cpu = backend.on_cpu
        self._backend = backend
        self._precision = precision

    def obstacle(self) -> str:
        return self._backend.obstacle()

    def precisions(self) -> tuple[str, ...]:
        return (self._precision,)

    def version(self) -> str:
        return self._backend.version()

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> Session:
        return self._backend.open(source, shape, precision, index, limits)


def measure(bench: Bench, device: str, precision: str) -> Rates:
    """Measure in a process of its own, whose peak memory is that of this device alone."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_be_quiet) as pool:
        try:
            return pool.submit(measure_here, bench, device, precision).result()
        except LiveRestoreError as error:
            return Rates(device, precision, error=error.reason)
        except BrokenProcessPool:
            return Rates(device, precision, error="its process died (out of memory?)")


def _be_quiet() -> None:
    """Keep the engine's log off the terminal: only errors of the bench itself are reported."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def measure_here(bench: Bench, device: str, precision: str) -> Rates:
    """Measure in this process; raises ``LiveRestoreError``."""
    inference = bench.settings.inference
    name = device.partition(":")[0]
    backend = next(b for b in make_backends() if b.name == name)
    limits = Limits(inference.threads, inference.gpu_memory_gb)
    model = load_model(
        bench.model,
        device,
        inference.threads,
        gpu_memory_gb=inference.gpu_memory_gb,
        backends=(_InOnePrecision(backend, precision),),
    )
    z, y, x = bench.shape_zyx
    stack = np.resize(LivingCell(shape_zyx=(z, min(y, 512), min(x, 512))).exposed(0), (z, y, x))
    stacks = stack[np.newaxis].repeat(model.card.input_channels, axis=0)
    if inference.max_tile_mvoxel is None:  # as large as "auto" takes them on a device this fast
        small = known_tile(small_shape(model.card), model.card)
        rate = small.size / _best(lambda: model.session.run(small)) / 1e6
        measured = replace(model.session.device, mvoxel_per_s=rate)
        most = largest_tile_voxels(model.card, measured) / 1e6
        inference = inference.model_copy(update={"max_tile_mvoxel": most})
    restorer = Restorer(model, inference)
    tile_zyx = restorer.restore(stacks).tile_zyx  # warm: the first tile of a shape is checked
    voxels = float(stack.size)
    tile: Shape5 = (1, model.card.input_channels, *tile_zyx)
    normalised = np.random.default_rng(0).random(tile, np.float32)
    network_s = _best(lambda: model.session.run(normalised))
    restorer_s = _best(lambda: restorer.restore(stacks))
    pipeline_s, busy = _pipeline(ModelSet(((ModelRule(), restorer),), "bench"), bench)
    network = float(np.prod(tile_zyx)) / network_s
    flop = flop_per_voxel(model.card)
    ceiling = _ceiling(backend, precision, limits)
    return Rates(
        device,
        precision,
        model.session.device.hardware,
        tile_zyx,
        network / 1e6,
        voxels / restorer_s / 1e6,
        voxels / pipeline_s / 1e6,
        busy,
        _peak_memory_mb(),
        None if flop is None else flop * network / 1e9,
        ceiling / 1e9,
        None if flop is None else flop * network / ceiling,
    )


def _best(work: Callable[[], object]) -> float:
    """Return the least time of a few rounds (s); one round where it takes long."""
    best, began = np.inf, time.perf_counter()
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() - began > _LONGEST_S:
            break
    return best


def _pipeline(model_set: ModelSet, bench: Bench) -> tuple[float, float]:
    """Let the real engine restore real files; return seconds per stack and the busy share."""
    with tempfile.TemporaryDirectory(prefix="live-restore-bench-") as name:
        folder = Path(name) / "data"
        folder.mkdir()
        record(folder, LivingCell(shape_zyx=bench.shape_zyx), _STACKS, plane_interval_s=0.0)
        settings = bench.settings.model_copy(
            update={
                "watch": bench.settings.watch.model_copy(update={"settle_s": 0.01}),
                "journal": bench.settings.journal.model_copy(update={"folder": Path(name) / "j"}),
            }
        )
        root = folder.resolve()
        with open_daemon_journal(root, settings, model_set.recipe) as journal:
            daemon = Daemon(root, settings, model_set, journal)
            started = time.perf_counter()
            failed = daemon.run(once=True)
            seconds = time.perf_counter() - started
        done = daemon.progress.snapshot()
        if failed or done.files_restored != _STACKS:
            raise LiveRestoreError(
                f"restored only {done.files_restored} of {_STACKS} stacks", folder,
                "; ".join(done.warnings),
            )  # fmt: skip
        return seconds / _STACKS, _network_seconds(folder) / seconds


def _network_seconds(folder: Path) -> float:
    reports = (folder / "restored").glob("*.json")
    return float(sum(json.loads(path.read_text())["seconds"]["network"] for path in reports))


def _ceiling(backend: Backend, precision: str, limits: Limits) -> float:
    """Return the rate of matrix products through the same library (FLOP/s)."""
    side = _MATRIX_CPU if backend.on_cpu else _MATRIX_GPU
    source = ModelSource.of(Path("matrix product"), matrix_product_model(side))
    shape: Shape5 = (1, 1, 1, side, side)
    session = backend.open(source, shape, precision, 0, limits)
    matrix = np.full(shape, 1 / side, np.float32)
    session.run(matrix)
    return CHAIN * 2.0 * side**3 / _best(lambda: session.run(matrix))


def _peak_memory_mb() -> float:
    """Return the most main memory that this process ever had (MB)."""
    import sys

    import psutil

    on_windows = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if on_windows is not None:
        return float(on_windows) / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (1e6 if sys.platform == "darwin" else 1e3)
