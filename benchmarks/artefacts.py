"""Does a model invent structure, or take some away with the noise?

    python benchmarks/artefacts.py --model standard --model fast
    python benchmarks/artefacts.py --model standard --raw chromosomes.tif --picture residual.png

Three questions to which the answer is known without a truth. A stack of nothing but noise on a flat
background must come back flat, and so must an empty region beside structure: both are given as the
standard deviation of the result over that of the noise. And of a real stack (``--raw``) only noise
may have been taken away: the residual, raw minus restored, must not resemble itself one voxel on,
and its variance must be that of the noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tifffile
from live_restore_export.quality.gain import TEST_CAMERA
from live_restore_export.simulator.simulate import SimulationConfig, simulate_scene
from numpy.typing import NDArray

from live_restore.inference.image.finest_detail import finest_detail
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings
from live_restore.trust.snr import estimate_snr

SHAPE_ZYX = (24, 160, 160)
LEVELS_E = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# Farther from the structure than the light of its point spread function reaches.
_APART_PIXELS = 32
_SEED = 2_200_000_000

Floats = NDArray[np.float32]


def noise_of(expected_e: Floats, seed: int) -> tuple[NDArray[np.uint16], float]:
    """Return an exposure (ADU) of ``expected_e`` (e-), and the noise (ADU) where it is darkest."""
    camera = TEST_CAMERA
    raw = camera.expose(expected_e, np.random.default_rng(seed))
    darkest = float(expected_e.min())
    return raw, camera.gain_adu_per_e * float(np.sqrt(darkest + camera.read_noise_e**2))


def flatness(restorer: Restorer, level_e: float) -> float:
    """Return how much of the noise is left of a stack that holds nothing else."""
    raw, noise = noise_of(np.full(SHAPE_ZYX, level_e, np.float32), _SEED)
    return float(restorer.restore(raw).volume.std()) / noise


def emptiness(restorer: Restorer, peak_e: float, scenes: int) -> list[float]:
    """Return the same of the empty halves of stacks whose other halves hold structure."""
    left = []
    z, y, x = SHAPE_ZYX
    config = SimulationConfig(shape_zyx=(z, y, x // 2 - _APART_PIXELS // 2))
    for index in range(scenes):
        scene = simulate_scene(config, _SEED + index)
        signal = np.zeros(SHAPE_ZYX, np.float32)
        filled = scene.signal.shape[2]
        # Light ends at a border as under a field stop, softly over some pixels.
        fade = np.clip((filled - np.arange(filled)) / 8, 0, 1).astype(np.float32)
        signal[..., :filled] = scene.signal * fade
        raw, noise = noise_of(signal * peak_e + 0.1 * peak_e, _SEED + index)
        empty = restorer.restore(raw).volume[..., filled + _APART_PIXELS :]
        left.append(float(empty.std()) / noise)
    return left


def autocorrelation(residual: Floats) -> tuple[float, float, float]:
    """Return the correlation of a residual (Z, Y, X) with itself one voxel on along Z, Y and X."""
    centred = residual - residual.mean()
    variance = float(np.mean(centred**2))
    along = []
    for axis in range(3):
        first, second = (
            np.take(centred, range(start, centred.shape[axis] - 1 + start), axis)
            for start in (0, 1)
        )
        along.append(float(np.mean(first * second)) / variance)
    return along[0], along[1], along[2]


def noise_variance(raw: NDArray[np.generic]) -> float:
    """Return the mean variance (ADU^2) of the noise of a raw stack (Z, Y, X), from itself."""
    return float(np.mean(finest_detail(raw.astype(np.float64)) ** 2))


def report_residual(restorer: Restorer, path: Path) -> tuple[NDArray[np.generic], Floats]:
    """Print what was taken away from a real stack; return raw and restored."""
    raw = np.asarray(tifffile.imread(path))
    restored = np.asarray(restorer.restore(raw).volume, np.float32)
    residual = np.asarray(raw - restored, np.float32)
    z, y, x = autocorrelation(residual)
    estimate = estimate_snr(raw)
    print(
        f"  {path.name}: autocorrelation of the residual at lag 1 in Z {z:.3f}, Y {y:.3f}, "
        f"X {x:.3f}; its variance {residual.var():.1f} ADU^2, that of the noise "
        f"{noise_variance(raw):.1f} ADU^2; mean {residual.mean():.2f} ADU; signal-to-noise ratio "
        f"{estimate.ratio if estimate else float('nan'):.1f}"
    )
    return raw, restored


def picture(raw: NDArray[np.generic], restored: Floats, path: Path) -> None:
    """Write raw, restored and residual, the middle plane of each, as PNG."""
    from matplotlib.figure import Figure

    middle = raw.shape[0] // 2
    black, white = np.percentile(raw[middle], (1, 99.8))
    residual = raw[middle] - restored[middle]
    reach = 4 * float(residual.std())
    figure = Figure(figsize=(12, 5), layout="constrained")
    panels = (
        ("raw", raw[middle], black, white, "gray"),
        ("restored", restored[middle], black, white, "gray"),
        ("raw - restored", residual, -reach, reach, "gray"),
    )
    for axes, (caption, plane, low, high, colours) in zip(
        figure.subplots(1, 3), panels, strict=True
    ):
        axes.imshow(plane, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
        axes.set_title(caption)
        axes.set_axis_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the three answers per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True, help="bundled name or ONNX file")
    parser.add_argument("--scenes", type=int, default=4, help="stacks with structure (default 4)")
    parser.add_argument("--raw", type=Path, help="a real, noisy stack (TIFF, Z Y X)")
    parser.add_argument("--picture", type=Path, help="of it and its residual, by the first model")
    options = parser.parse_args()
    for number, name in enumerate(options.model):
        path = find_model(name)
        # Not rounded: at one photo-electron that alone would be a tenth of the noise.
        restorer = Restorer(load_model(path, "cpu"), InferenceSettings(), "camera-float")
        print(f"{path.stem}: standard deviation of the result over that of the noise")
        for level_e in LEVELS_E:
            beside = emptiness(restorer, level_e, options.scenes)
            print(
                f"  {level_e:g} e-: flat background {100 * flatness(restorer, level_e):.1f} %, "
                f"empty beside structure {100 * np.sqrt(np.mean(np.square(beside))):.1f} % "
                f"(worst of {len(beside)}: {100 * max(beside):.1f} %)",
                flush=True,
            )
        if options.raw:
            raw, restored = report_residual(restorer, options.raw)
            if options.picture and not number:
                picture(raw, restored, options.picture)


if __name__ == "__main__":
    main()
