"""How well do the bundled models denoise? Raw, best Gaussian, BM4D and models, stack by stack.

    python benchmarks/quality.py --model standard --model fast --table docs/quality.json
    python benchmarks/quality.py --clean golgi.tif --clean plate.tif --table docs/quality.json
    python benchmarks/quality.py --stacks 0 --judges 2 --model fast --table judges.json
    python benchmarks/quality.py --times 6 --model fast --model standard

Simulated stacks come from seeds and structure counts that no training drew; ``--judges`` adds so
many of each kind in ``judges.py``, which shares nothing with the simulator; ``--clean`` adds real
stacks, taken as truth and photographed by the camera model. Methods that the table already holds
are not computed again (``--again METHOD`` does). BM4D is given the true noise after a
variance-stabilising transform; its package is not free for every use and is not installed with
this project: without it the column stays as it is. ``--times`` compares time-lapses of a moving
cell instead, of so many time points: signal-to-noise ratio over space and time, and of the changes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import judges
import numpy as np
import tifffile
from live_restore_export.quality.gain import PEAKS_E
from live_restore_export.quality.gain import TEST_CAMERA as CAMERA
from live_restore_export.simulator.simulate import (
    SimulationConfig,
    expected_electrons,
    simulate_scene,
)
from numpy.typing import NDArray

from live_restore.files.publish import publishing
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.quality import best_gaussian, psnr, time_lapse_snr
from live_restore.simulation.scene import LivingCell

BACKGROUND_FRACTION = 0.1
# More kinds of structure at once than in training, and seeds far from its own.
UNSEEN = SimulationConfig(shape_zyx=(24, 160, 160), structures_per_stack=(2, 4))
FIRST_SEED = 2_100_000_000

Stack = NDArray[np.generic]
Method = Callable[[Stack, Stack], Stack]


@dataclass(frozen=True)
class Case:
    """A stack at one light level: raw uint16 and its noise-free truth (Z, Y, X), camera units."""

    name: str
    peak_e: float
    raw: NDArray[np.uint16]
    truth: NDArray[np.float32]


def photographed(name: str, signal: NDArray[np.float32], seed: int) -> Iterator[Case]:
    """Yield ``signal`` (Z, Y, X; 1 at its peak) at each light level."""
    for peak_e in PEAKS_E:
        expected = expected_electrons(signal, peak_e, BACKGROUND_FRACTION)
        raw = CAMERA.expose(expected, np.random.default_rng((seed, int(peak_e))))
        yield Case(name, peak_e, raw, CAMERA.noiseless_adu(expected))


def clean_signal(path: Path) -> NDArray[np.float32]:
    """Return a real stack scaled to 0 at its 1st and 1 at its 99.9th percentile."""
    data = np.asarray(tifffile.imread(path), np.float32)
    low, high = np.percentile(data, (1, 99.9))
    return np.asarray(np.clip((data - low) / (high - low), 0, None), np.float32)


def bm4d_method() -> Method | None:
    """Return BM4D between a generalised Anscombe transform and its unbiased inverse, if installed.

    Transform and closed form of the inverse: Makitalo and Foi, IEEE TIP 22, 91 (2013).
    """
    try:
        from bm4d import bm4d
    except ImportError:
        return None
    noise = CAMERA.read_noise_e**2

    def denoise(raw: Stack, _: Stack) -> Stack:
        electrons = (np.asarray(raw, np.float64) - CAMERA.offset_adu) / CAMERA.gain_adu_per_e
        stable = 2 * np.sqrt(np.maximum(electrons + 3 / 8 + noise, 0))
        f = np.maximum(np.asarray(bm4d(stable, 1.0)), 2 * np.sqrt(3 / 8 + noise) * 0.5)
        root = np.sqrt(1.5)
        back = f**2 / 4 + root / (4 * f) - 11 / (8 * f**2) + 5 * root / (8 * f**3) - 1 / 8 - noise
        return CAMERA.noiseless_adu(np.maximum(back, 0))

    return denoise


def model_method(name: str, camera: CameraSettings | None = None) -> Method:
    """Return a model (bundled name or ONNX file) as the daemon runs it, before the rounding.

    ``camera``: the daemon has been told it in its settings.

    Results of the other methods are not rounded either. At 10 e- whole grey values would cost a
    good network more than its own error.
    """
    path = find_model(name)
    restorer = Restorer(load_model(path, "cpu"), InferenceSettings(), "camera-float", camera)
    return lambda raw, _: restorer.restore(raw).volume


def markdown(rows: dict[str, dict[str, float]]) -> str:
    """Return the table, one line per stack and light level, means last."""
    methods = sorted({m for row in rows.values() for m in row}, key=_place)
    lines = ["| stack, peak e- | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[m]:.1f}" if m in row else "" for m in methods]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for kind in ("simulated", "judge", "real"):
        for peak_e in PEAKS_E:
            chosen = [
                row
                for name, row in rows.items()
                if name.startswith(kind) and name.endswith(f", {peak_e:g}")
            ]
            if chosen:
                cells = [
                    f"**{np.mean([r[m] for r in chosen]):.2f}**"
                    if all(m in r for r in chosen)
                    else ""
                    for m in methods
                ]
                lines.append(f"| **mean of {kind}, {peak_e:g}** | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_lapses(methods: dict[str, Method], times: int) -> None:
    """Print signal-to-noise ratios (dB) over space and time, and of changes, light by light."""
    print("| peak | " + " | ".join(methods) + " |\n" + "|---" * (len(methods) + 1) + "|")
    for peak_e in PEAKS_E:
        cell = LivingCell((12, 128, 128), peak_e, BACKGROUND_FRACTION * peak_e, camera=CAMERA)
        pairs = [(cell.exposed(time), cell.truth_adu(time)) for time in range(times)]
        truths = [truth for _, truth in pairs]
        found = [time_lapse_snr([run(*each) for each in pairs], truths) for run in methods.values()]
        cells = [f"{each.space_time_db:.1f}, {each.changes_db:.1f}" for each in found]
        print(f"| {peak_e:g} e- | " + " | ".join(cells) + " |", flush=True)


def _place(method: str) -> tuple[int, str]:
    known = ["raw", "Gaussian", "BM4D", "fast", "standard", "sharpen"]
    model = method.split(" ")[0]
    return (known.index(model) if model in known else len(known), method)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stacks", type=int, default=8, help="simulated stacks (default 8)")
    parser.add_argument("--judges", type=int, default=0, help="judge stacks of each kind")
    parser.add_argument("--clean", type=Path, action="append", default=[], help="real clean stack")
    parser.add_argument("--model", action="append", default=[], help="bundled name or ONNX file")
    parser.add_argument("--camera", action="store_true", help="models that know the camera, too")
    parser.add_argument("--again", action="append", default=[], help="method to compute again")
    parser.add_argument("--times", type=int, default=0, help="time points: compare time-lapses")
    parser.add_argument("--table", type=Path, help="JSON file that is added to")
    options = parser.parse_args()
    if not (options.times or options.table):
        parser.error("--table is needed, or --times")
    told = CameraSettings(
        gain_adu_per_e=CAMERA.gain_adu_per_e,
        offset_adu=CAMERA.offset_adu,
        read_noise_e=CAMERA.read_noise_e,
    )
    methods: dict[str, Method] = {
        "raw": lambda raw, _: raw,
        "Gaussian": lambda raw, truth: best_gaussian(raw, truth)[0],
        **{Path(name).stem: model_method(name) for name in options.model},
        **{
            f"{Path(name).stem} with [camera]": model_method(name, told)
            for name in options.model
            if options.camera
        },
    }
    denoise = bm4d_method()
    if denoise is not None:
        methods["BM4D"] = denoise
    if options.times:
        time_lapses(methods, options.times)
        return
    rows = json.loads(options.table.read_text()) if options.table.exists() else {}
    signals = [
        (f"simulated {i}", simulate_scene(UNSEEN, FIRST_SEED + i).signal, FIRST_SEED + i)
        for i in range(options.stacks)
    ]
    signals += [
        (f"judge {kind} {number}", judges.signal(kind, number), FIRST_SEED - 1 - number)
        for kind in judges.KINDS
        for number in range(options.judges)
    ]
    signals += [(f"real {path.stem}", clean_signal(path), 1) for path in options.clean]
    for name, signal, seed in signals:
        for case in photographed(name, signal, seed):
            row = rows.setdefault(f"{name}, {case.peak_e:g}", {})
            for method, run in methods.items():
                if method in row and method not in options.again:
                    continue
                started = time.monotonic()
                row[method] = round(psnr(run(case.raw, case.truth), case.truth), 3)
                seconds = time.monotonic() - started
                print(
                    f"{name}, {case.peak_e:g} e-: {method} {row[method]} dB, {seconds:.1f} s",
                    flush=True,
                )
            with publishing(options.table) as temporary:
                temporary.write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown(rows))


if __name__ == "__main__":
    main()
