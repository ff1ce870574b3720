"""What all steps measure: networks, stacks, and how a time is taken and kept."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from live_restore_export.network import RCAN, RCANConfig
from networks import allow_tf32, best  # beside this file

__all__ = ["FULL", "TINY", "Rows", "Workload", "allow_tf32", "arguments", "best", "network"]


@dataclass(frozen=True)
class Workload:
    """Networks (random weights) and shapes of stacks (Z, Y, X) on a device."""

    device: str
    networks: dict[str, RCANConfig]
    shapes: tuple[tuple[int, int, int], ...]
    megabytes: int
    matrix: int


FULL = Workload(
    "cuda",
    {
        "fast": RCANConfig(groups=2, blocks=2, channels=24, lateral_shuffle=2),
        "standard": RCANConfig(groups=5, blocks=5, lateral_shuffle=2),
        "G5 B5": RCANConfig(groups=5, blocks=5),
    },
    ((32, 512, 512), (16, 2048, 2048)),
    1024,
    8192,
)
TINY = Workload("cpu", {"tiny": RCANConfig(groups=2, blocks=1, channels=8)}, ((4, 24, 32),), 2, 128)


def network(config: RCANConfig) -> RCAN:
    """Return it with the same random weights everywhere."""
    torch.manual_seed(0)
    return RCAN(config).eval()


def arguments(description: str) -> tuple[Workload, Rows, int]:
    """Return what is to be measured, where rows go, and how many rounds."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("rows", type=Path, help="a JSON file, written anew after each row")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no row begins later")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on the processor")
    parsed = parser.parse_args()
    workload = TINY if parsed.tiny else FULL
    if workload.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device (--tiny rehearses on the processor)")
    return workload, Rows(parsed.rows, parsed.minutes), parsed.rounds


class Rows:
    """A table that survives a step that is cut off: kept as JSON after each row.

    After some minutes no row begins any more; which ones that left out is kept, too.
    """

    def __init__(self, path: Path, minutes: float = math.inf) -> None:
        self._path = path
        self._until = time.monotonic() + 60 * minutes
        self._rows: list[dict[str, Any]] = []

    def add(self, **row: Any) -> None:
        """Keep a row, and print it."""
        self._rows.append(row)
        self._path.write_text(json.dumps(self._rows, indent=1))
        shown = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(shown) + " |", flush=True)

    def out_of_time(self, **row: Any) -> bool:
        """Return whether there is no time for a row, and keep that."""
        late = time.monotonic() > self._until
        if late:
            self.add(**row, error="not measured: the time was over")
        return late

    def failed(self, error: BaseException, **row: Any) -> None:
        """Keep why a row is empty."""
        told = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        self.add(**row, error=told)

    def __len__(self) -> int:
        return sum("error" not in row for row in self._rows)
