"""What does it bring to adapt a model to a run? Judge stacks as runs, with everything side by side.

    python benchmarks/adapted.py --kind chromatin --kind spots --peak 30 --steps 150 --table t.json
    python benchmarks/adapted.py --kind foam --model standard --steps 150 --table t.json
    python benchmarks/adapted.py --kind foam --scratch --steps 600 --table t.json

A run is one field of a kind in ``judges.py`` (16 x 256 x 256) in four quarters: three are learnt
from, without their truth, and the fourth is held out and judged by its truth (PSNR in dB).
``--fields 4`` learns from three more fields of the kind besides, each another draw; ``--scratch``
learns from random weights: a network that never saw anything but this run's noise.
Methods that the table already holds are not computed again. Also said: whether the verdict without
the truth agrees, and how much of nothing but noise is left before and after.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import judges
import numpy as np
import torch
from live_restore_export.adaptation.adapt import adapt
from live_restore_export.adaptation.examples import NoisyStack
from live_restore_export.adaptation.fine_tune import as_network
from live_restore_export.adaptation.judge import left_of_noise
from live_restore_export.adaptation.options import AdaptOptions
from live_restore_export.adaptation.run_stacks import RunStack
from live_restore_export.network import RCAN, begin_near_identity
from live_restore_export.quality.gain import TEST_CAMERA as CAMERA
from live_restore_export.simulator.simulate import expected_electrons
from live_restore_export.training.start import find_start
from numpy.typing import NDArray
from quality import BACKGROUND_FRACTION, bm4d_method

from live_restore.files.publish import publishing
from live_restore.inference.image.intensity import scale_from_percentiles
from live_restore.settings.camera import CameraSettings
from live_restore.simulation.quality import best_gaussian, psnr

SHAPE_ZYX = (16, 256, 256)
PERCENTILES = (2.0, 99.9)
TOLD = CameraSettings(
    gain_adu_per_e=CAMERA.gain_adu_per_e,
    offset_adu=CAMERA.offset_adu,
    read_noise_e=CAMERA.read_noise_e,
)
_SEED = 2_300_000_000


def quarters(volume: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the four quarters of a field (Z, Y, X)."""
    y, x = (size // 2 for size in volume.shape[1:])
    return [volume[:, a : a + y, b : b + x].copy() for a in (0, y) for b in (0, x)]


def exposure(kind: str, number: int, peak_e: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a field as the camera records it, and the same without noise (ADU)."""
    expected = expected_electrons(
        judges.signal(kind, number, SHAPE_ZYX), peak_e, BACKGROUND_FRACTION
    )
    rng = np.random.default_rng((_SEED, int(peak_e), *([number] if number else [])))
    return CAMERA.expose(expected, rng), CAMERA.noiseless_adu(expected)


def restored(network: RCAN, raw: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a network makes of a raw stack, not rounded (ADU)."""
    scale = scale_from_percentiles(raw, *PERCENTILES)
    return scale.restore(as_network(network, torch.device("cpu"))(scale.normalise(raw)))


def measure(kind: str, peak_e: float, options: argparse.Namespace, row: dict[str, Any]) -> None:
    """Add to the row of a kind at a light level what it lacks."""
    field, clean = exposure(kind, options.number, peak_e)
    raws = quarters(field)
    raw, truth = raws[3], quarters(clean)[3]
    if "raw" not in row:
        row["raw"] = psnr(raw, truth)
        row["Gaussian"] = psnr(best_gaussian(raw, truth)[0], truth)
        for name in ("fast", "standard"):
            row[name] = psnr(restored(find_start(name).network.eval(), raw), truth)
    denoise = bm4d_method()
    if denoise is not None and "BM4D" not in row:
        row["BM4D"] = psnr(denoise(raw, truth), truth)
    start = find_start(options.model).network.eval()
    name = f"{options.model} adapted"
    if options.scratch:
        start, name = RCAN(start.config), "from scratch"
        begin_near_identity(start)
    if name in row:
        return
    told = AdaptOptions(
        minutes=600, steps=options.steps, learning_rate=options.learning_rate, device="cpu"
    )
    stacks = [RunStack(each, TOLD, f"quarter {number}") for number, each in enumerate(raws)]
    others = [
        RunStack(each, TOLD, f"field {field}, quarter {number}")
        for field in range(1, options.fields)
        for number, each in enumerate(quarters(exposure(kind, options.number + field, peak_e)[0]))
    ]
    began = time.process_time()
    adapted = adapt(start, PERCENTILES, [*stacks[:3], *others], stacks[3:], told, lambda _: None)
    made = restored(adapted.network, raw)
    noise = NoisyStack(raw, made, TOLD, PERCENTILES)
    row[name] = psnr(made, truth)
    row[f"{name}: verdict"] = adapted.verdict.refused_because or adapted.verdict.in_words
    row[f"{name}: left of noise"] = [
        left_of_noise(noise, as_network(each, torch.device("cpu")), 0)
        for each in (start, adapted.network)
    ]
    row[f"{name}: steps"] = adapted.looks[-1].step
    row[f"{name}: processor_s"] = round(time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", action="append", default=[], choices=[*judges.KINDS])
    parser.add_argument("--peak", type=float, action="append", default=[], help="e- at the peak")
    parser.add_argument("--number", type=int, default=0, help="which field of the kind")
    parser.add_argument("--fields", type=int, default=1, help="that the run has; one is held out")
    parser.add_argument("--model", default="fast", help="to begin with")
    parser.add_argument("--scratch", action="store_true", help="begin with random weights")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--learning-rate", type=float, default=AdaptOptions.learning_rate)
    parser.add_argument("--table", type=Path, required=True, help="JSON file that is added to")
    options = parser.parse_args()
    for kind in options.kind or judges.KINDS:
        for peak_e in options.peak or (30.0, 100.0):
            table = json.loads(options.table.read_text()) if options.table.exists() else {}
            row = table.setdefault(f"{kind} {options.number}, {peak_e:g}", {})
            measure(kind, peak_e, options, row)
            with publishing(options.table) as temporary:
                temporary.write_text(json.dumps(table, indent=1) + "\n")
            print(kind, f"{peak_e:g} e-", json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
