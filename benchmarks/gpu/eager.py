"""Ceilings of the card, and PyTorch eager beneath them: the bar for every other runtime.

    python benchmarks/gpu/eager.py ROWS.json [--rounds 5] [--tiny]

Copies within the card and to and from it (pageable and pinned, float32 and uint16), matrix products
in each precision; then each network in each memory format and precision, with and without cuDNN's
search. About 4 minutes.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable

import torch
from workload import Rows, Workload, allow_tf32, arguments, best, network  # beside this file

_TYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16,
          "fp16": torch.float16}  # fmt: skip


def copies(workload: Workload, rows: Rows, rounds: int) -> None:
    """Measure copies (GB/s; within the card, read and written bytes)."""
    count = workload.megabytes * 2**20
    there = torch.zeros(count, dtype=torch.uint8, device=workload.device)
    other = torch.empty_like(there)
    taken = best(lambda: other.copy_(there), rounds)
    rows.add(what="copy within the card", gb_per_s=2 * count / taken / 1e9)
    for name, dtype in (("float32", torch.float32), ("uint16", torch.int16)):
        for pinned in (False, True) if torch.cuda.is_available() else (False,):
            here = torch.zeros(count // dtype.itemsize, dtype=dtype, pin_memory=pinned)
            moved = here.to(workload.device)
            kind = f"{name}, {'pinned' if pinned else 'pageable'}"
            for way, work in (
                ("to the card", lambda m=moved, h=here: m.copy_(h)),
                ("from the card", lambda m=moved, h=here: h.copy_(m)),
            ):
                rows.add(what=f"{way}: {kind}", gb_per_s=count / best(work, rounds) / 1e9)


def products(workload: Workload, rows: Rows, rounds: int) -> None:
    """Measure matrix products (TFLOP/s)."""
    for precision, dtype in _TYPES.items():
        allow_tf32(precision == "tf32")
        matrix = torch.rand(workload.matrix, workload.matrix, device=workload.device).to(dtype)
        taken = best(lambda m=matrix: m @ m, rounds)
        rows.add(what=f"matrix product {precision}", tflops=2 * workload.matrix**3 / taken / 1e12)


def eager(workload: Workload, rows: Rows, rounds: int) -> None:
    """Measure the networks (Mvoxel/s)."""
    formats = {"channels first": torch.contiguous_format, "channels last": torch.channels_last_3d}
    for (name, config), shape in itertools.product(workload.networks.items(), workload.shapes):
        for form, precision, search in itertools.product(formats, _TYPES, (False, True)):
            row = {"network": name, "shape": shape, "format": form, "precision": precision,
                   "search": search}  # fmt: skip
            if rows.out_of_time(**row):
                continue
            try:
                taken = best(
                    _work(workload, config, shape, formats[form], precision, search), rounds
                )
                rows.add(**row, mvoxel_per_s=math.prod(shape) / taken / 1e6)
            except RuntimeError as error:  # what torch raises, memory included
                rows.failed(error, **row)
            if workload.device == "cuda":
                torch.cuda.empty_cache()


def _work(
    workload: Workload,
    config: object,
    shape: tuple[int, int, int],
    memory: torch.memory_format,
    precision: str,
    search: bool,
) -> Callable[[], object]:
    allow_tf32(precision == "tf32")
    torch.backends.cudnn.benchmark = search
    dtype = _TYPES[precision]
    model = network(config).to(workload.device, dtype, memory_format=memory)  # type: ignore[arg-type]
    tile = torch.rand(1, 1, *shape).to(workload.device, dtype, memory_format=memory)

    def work() -> object:
        with torch.inference_mode():
            return model(tile)

    return work


def main() -> int:
    """Measure all of it."""
    workload, rows, rounds = arguments(__doc__)
    copies(workload, rows, rounds)
    products(workload, rows, rounds)
    eager(workload, rows, rounds)
    return int(not len(rows))


if __name__ == "__main__":
    sys.exit(main())
