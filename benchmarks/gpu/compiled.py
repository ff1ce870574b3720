"""``torch.compile``, by default and with the search for the best kernels, over eager.

    python benchmarks/gpu/compiled.py ROWS.json [--rounds 5] [--tiny]

Channels last in float16 (float32 on the processor), one shape. About 6 minutes: compiling takes
most of them.
"""

from __future__ import annotations

import itertools
import math
import sys

import torch
from workload import arguments, best, network  # beside this file

_MODES = {"eager": None, "default": "default", "max-autotune": "max-autotune-no-cudagraphs"}
_LARGEST = 2  # of the networks: the paper's own would take the rest of the time


def main() -> int:
    """Measure all of it."""
    workload, rows, rounds = arguments(__doc__)
    dtype = torch.float16 if workload.device == "cuda" else torch.float32
    torch.backends.cudnn.benchmark = True
    shape = workload.shapes[0]
    tile = torch.rand(1, 1, *shape).to(workload.device, dtype, memory_format=torch.channels_last_3d)
    for name, config in itertools.islice(workload.networks.items(), _LARGEST):
        for mode, asked in _MODES.items():
            model = network(config).to(workload.device, dtype, memory_format=torch.channels_last_3d)
            run = model if asked is None else torch.compile(model, mode=asked)
            row = {"network": name, "shape": shape, "mode": mode}
            if rows.out_of_time(**row):
                continue

            def work(run: object = run) -> object:
                with torch.inference_mode():
                    return run(tile)  # type: ignore[operator]

            try:
                rows.add(**row, mvoxel_per_s=math.prod(shape) / best(work, rounds) / 1e6)
            except RuntimeError as error:
                rows.failed(error, **row)
    return int(not len(rows))


if __name__ == "__main__":
    sys.exit(main())
