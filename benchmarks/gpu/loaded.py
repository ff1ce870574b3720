"""Our own kernels as the daemon loads them, by the driver alone: right or not, and how fast.

    python benchmarks/gpu/loaded.py ROWS.json [--rounds 5] [--tiny]

``fast`` and ``standard`` are compiled, loaded, asked for a small tile, and timed on whole stacks,
copies to the card and back included. About 4 minutes, most of it compiling; needs the extra
``kernels``. With ``--tiny`` the card and its kernels are those of the tests, on the processor.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from live_restore_export.kernels.package import Compiler, network_of, package
from workload import Rows, arguments, best  # beside this file

from live_restore.errors import LiveRestoreError
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.cuda_kernels import CudaKernels, KernelSession
from live_restore.inference.backends.kernels.kernel_file import kernels_beside
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.device.check import known_tile
from live_restore.inference.load import find_model, load_model

_SMALL = (3, 34, 70)
_MOST_WRONG = 2e-3
"""rms difference over the standard deviation of ONNX Runtime's result; float16 makes 5e-4."""


def compiler(*, tiny: bool) -> Compiler:
    """Return what makes programs: for cards, or for the tests' one."""
    if tiny:
        from tests.export.stated_kernels import state

        return state
    from live_restore_export.kernels.ahead import build

    return build


def opened(source: ModelSource, shape: Shape5, *, tiny: bool) -> Session:
    """Return a session on the card."""
    if tiny:
        from tests.export.stated_kernels import Card

        return KernelSession(source, shape, Card(), 0, Limits())
    return CudaKernels().open(source, shape, "fp16", 0, Limits())


def measure(
    name: str, folder: Path, shapes: tuple[tuple[int, int, int], ...], rows: Rows, rounds: int,
    *, tiny: bool,
) -> None:  # fmt: skip
    """Keep a model's error, and its rate on each stack."""
    model = Path(shutil.copy(find_model(name), folder))
    trusted = load_model(model, "cpu")
    content = model.read_bytes()
    network = network_of(content, trusted.card.architecture)
    archive = package(name, content, network, "benchmark", compiler(tiny=tiny))
    kernels_beside(model).write_bytes(archive)
    source = ModelSource.of(model, content)
    rng = np.random.default_rng(0)
    # Of noise alone nearly nothing is left, and an error is relative to what is left.
    tile = known_tile((1, 1, *_SMALL), trusted.card)
    wanted = trusted.session.run(tile)
    found = opened(source, (1, 1, *_SMALL), tiny=tiny).run(tile)
    error = float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
    row: dict[str, Any] = {"what": f"{name}, loaded", "error": error, "bytes": len(archive)}
    for shape in shapes:
        session = opened(source, (1, 1, *shape), tiny=tiny)
        stack = rng.random((1, 1, *shape), dtype=np.float32)
        taken = best(lambda session=session, stack=stack: session.run(stack), rounds)
        rows.add(**row, shape=shape, mvoxel_per_s=math.prod(shape) / taken / 1e6)
    if not error <= _MOST_WRONG:  # NaN, too
        raise ValueError(f"{name} is wrong: {error}")


def main() -> int:
    """Measure; return 1 where nothing was right."""
    workload, rows, rounds = arguments(__doc__)
    tiny = workload.device == "cpu"
    right = 0
    for name in ("fast",) if tiny else ("fast", "standard"):
        if rows.out_of_time(what=f"{name}, loaded"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                measure(name, Path(folder), workload.shapes, rows, rounds, tiny=tiny)
                right += 1
            except (LiveRestoreError, ValueError) as error:
                rows.failed(error, what=f"{name}, loaded")
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
