"""ONNX Runtime's CUDA provider in every form and precision: which options are to be used?

    python benchmarks/gpu/grid.py ROWS.json [--rounds 5] [--tiny]

The forms are those of ``live_restore/inference/backends/cuda_options.py``; each is opened by the
product's own backend and asked the known answer, whose error is in its row: 1e-6 in float32, 3e-4
where TF32 was used in silence. Precisions: float32, TF32, and models in float16. Also on a tile of
16 x 64 x 64, on which all look alike. On the processor (``--tiny``) the backend is "cpu", and only
static shapes are a form. About 7 minutes.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from live_restore_export.network import RCANConfig
from live_restore_export.onnx.export import export_network, make_card
from live_restore_export.onnx.precision import convert
from workload import Workload, arguments, best, network  # beside this file

from live_restore.errors import LiveRestoreError
from live_restore.inference.backends import onnx
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.cuda_options import FORMS, CudaForm
from live_restore.inference.backends.onnx_cpu import OnnxCpu
from live_restore.inference.backends.onnx_cuda import OnnxCuda
from live_restore.inference.backends.session import Floats, Session, Shape5
from live_restore.inference.device.check import known_tile, trusted_shape, worst_error
from live_restore.inference.model.card import ModelCard

_PRECISIONS = (("fp32", "fp32"), ("fp32", "tf32"), ("fp16", "fp32"))
"""Of the model's file, and of what float32 is computed in."""
_ASKED_IN = 0.5  # seconds a row may take per round at most; slower ones get one round


def source(config: RCANConfig, in_file: str) -> tuple[ModelSource, ModelCard]:
    """Return a network as the product gets it."""
    card = make_card(config, "grid")
    model = export_network(network(config), card)
    if in_file != "fp32":
        model = convert(model, config, in_file)
    return ModelSource.of(Path("grid.onnx"), model.SerializeToString(), in_file), card


class OneShape:
    """A session of the processor for tiles of one shape: what of the forms can be rehearsed."""

    def __init__(self, of: ModelSource, shape: Shape5, form: CudaForm) -> None:
        static = shape if form.static else None
        self._session = onnx.create(of, [onnx.CPU], Limits(), static=static)

    def run(self, tile: Floats) -> Floats:
        """Run one tile."""
        name = self._session.get_inputs()[0].name
        return np.asarray(self._session.run(None, {name: tile})[0])


def opened(
    workload: Workload, of: ModelSource, shape: Shape5, precision: str, form: CudaForm
) -> Session | OneShape:
    """Return a session of a form."""
    if workload.device == "cuda":
        return OnnxCuda(form).open(of, shape, precision, 0, Limits())
    return OneShape(of, shape, form)


def shapes(workload: Workload) -> Iterator[tuple[int, int, int]]:
    """Yield the shapes of tiles."""
    yield workload.shapes[0]
    if workload.device == "cuda":
        yield 16, 64, 64


def main() -> int:
    """Measure all of it."""
    workload, rows, rounds = arguments(__doc__)
    for (name, config), shape in itertools.product(workload.networks.items(), shapes(workload)):
        whole: Shape5 = (1, 1, *shape)
        exact, card = source(config, "fp32")
        asked = trusted_shape(whole, card)
        right = OnnxCpu().open(exact, asked, "fp32", 0, Limits()).run(known_tile(asked, card))
        tile = known_tile(whole, card)
        for (in_file, precision), form in itertools.product(_PRECISIONS, FORMS):
            row = {"network": name, "shape": shape, "file": in_file, "precision": precision,
                   "form": form.name}  # fmt: skip
            if rows.out_of_time(**row):
                continue
            try:
                of = exact if in_file == "fp32" else source(config, in_file)[0]
                session = opened(workload, of, whole, precision, form)
                error = worst_error(session.run(tile), right, card)
                taken = best(partial(session.run, tile), 1)
                if taken < _ASKED_IN:
                    taken = best(partial(session.run, tile), rounds)
                rows.add(**row, mvoxel_per_s=math.prod(shape) / taken / 1e6, error_of_known=error)
            except LiveRestoreError as error:
                rows.failed(error, **row)
    return int(not len(rows))


if __name__ == "__main__":
    sys.exit(main())
