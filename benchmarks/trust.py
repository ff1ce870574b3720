"""How far can the numbers be trusted that are stated without a truth? Compared with the truth.

    python benchmarks/trust.py gain --scenes 3 --peak 30 --peak 100 --clean golgi.tif
    python benchmarks/trust.py defects

``gain``: the gain over raw of simulated stacks of seeds and structure counts that no training drew,
of kinds that none drew (``--judges``), and of real stacks (``--clean``), taken as truth and
photographed by the camera model; with the camera as it is, and as settings that are wrong. A line
per stack. ``defects``: which hot pixels and cosmic rays are found, by their height, and what is
taken for one in stacks that have none.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import judges
import numpy as np
import tifffile
from live_restore_export.simulator.simulate import (
    SimulationConfig,
    expected_electrons,
    simulate_scene,
)
from numpy.typing import NDArray

from live_restore.inference.image.defects import find_defects
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell

CAMERA = Camera(offset_adu=100.0, gain_adu_per_e=2.0, read_noise_e=1.6)
UNSEEN = SimulationConfig(shape_zyx=(12, 112, 112), structures_per_stack=(2, 4))
FIRST_SEED = 2_100_000_000
BACKGROUND_FRACTION = 0.1
# Gain, offset and read noise as they are, and wrong by 10 %, 2 ADU and 20 %.
TOLD = {
    "right": (2.0, 100.0, 1.6),
    "gain +10 %": (2.2, 100.0, 1.6),
    "gain -10 %": (1.8, 100.0, 1.6),
    "offset +2": (2.0, 102.0, 1.6),
    "offset -2": (2.0, 98.0, 1.6),
    "read noise +20 %": (2.0, 100.0, 1.92),
    "read noise -20 %": (2.0, 100.0, 1.28),
}


def clean_signal(path: Path) -> NDArray[np.float32]:
    """Return the middle of a real stack, 0 at its 1st and 1 at its 99.9th percentile."""
    data = np.asarray(tifffile.imread(path), np.float32)[:12, :112, :112]
    low, high = np.percentile(data, (1, 99.9))
    return np.asarray(np.clip((data - low) / (high - low), 0, None), np.float32)


def gain(options: argparse.Namespace) -> None:
    """Print estimate and truth, stack by stack."""
    model = load_model(find_model(options.model), "cpu", 1)
    scenes = [
        (f"simulated {n}", simulate_scene(UNSEEN, FIRST_SEED + n).signal)
        for n in range(options.scenes)
    ]
    scenes += [
        (f"judge {kind} {n}", judges.signal(kind, n))
        for kind in judges.KINDS
        for n in range(options.judges)
    ]
    scenes += [(f"real {path.stem}", clean_signal(path)) for path in options.clean]
    for name, signal in scenes:
        for peak_e in options.peak:
            expected = expected_electrons(signal, peak_e, BACKGROUND_FRACTION)
            raw = CAMERA.expose(expected, np.random.default_rng(int(peak_e)))
            truth = CAMERA.noiseless_adu(expected)
            for told, (gain_adu_per_e, offset_adu, read_noise_e) in TOLD.items():
                camera = CameraSettings(
                    gain_adu_per_e=gain_adu_per_e, offset_adu=offset_adu, read_noise_e=read_noise_e
                )
                restorer = Restorer(
                    model, InferenceSettings(), "camera-float", camera, gain_every=1
                )
                found = restorer.restore(raw)
                assert found.gain is not None
                errors = [np.mean((image - truth) ** 2) for image in (raw, found.volume)]
                true_db = 10 * np.log10(errors[0] / errors[1])
                said, as_set = found.gain.in_words, found.gain.noise_as_set
                print(f"{name} | {peak_e:g} | {told} | {true_db:.1f} | {said} | {as_set:.3f}",
                      flush=True)  # fmt: skip


def defects(options: argparse.Namespace) -> None:
    """Print the shares that were found, and what was taken for a defect and is none."""
    rng = np.random.default_rng(0)
    light = LivingCell(shape_zyx=(12, 128, 128), seed=3).expected_e(0)
    for height in (40, 60, 80, 100, 150, 200, 400, 1000, 10000):
        hot = rays = 0
        for y, x in [(30, 30), (30, 90), (90, 30), (90, 90)] * 6:
            raw = CAMERA.expose(light, rng).astype(np.int64)
            raw[:, y, x] += height
            hot += [y, x] in find_defects(raw.astype(np.uint16)).pixels.tolist()
            raw[:, y, x] -= height
            raw[6, y, x] += height
            rays += [6, y, x] in find_defects(raw.astype(np.uint16)).voxels.tolist()
        print(f"{height} | {hot / 24:.0%} | {rays / 24:.0%}", flush=True)
    false = voxels = 0
    for n in range(options.scenes):
        signal = simulate_scene(UNSEEN, FIRST_SEED + n).signal
        for peak_e in (3, 30, 300, 3000):
            raw = CAMERA.expose(expected_electrons(signal, peak_e, BACKGROUND_FRACTION), rng)
            found = find_defects(raw)
            false += len(found.pixels) + len(found.voxels)
            voxels += raw.size
    print(f"without defects: {false} of {voxels:,} voxels")
    for path in options.clean:
        found = find_defects(np.asarray(tifffile.imread(path)))
        print(f"{path.name}: {len(found.pixels)} pixels, {len(found.voxels)} voxels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("gain", "defects"))
    parser.add_argument("--scenes", type=int, default=3, help="simulated scenes (default 3)")
    parser.add_argument("--judges", type=int, default=0, help="judge stacks of each kind")
    parser.add_argument("--peak", type=float, action="append", help="photo-electrons at the peak")
    parser.add_argument("--clean", type=Path, action="append", default=[], help="real stack")
    parser.add_argument("--model", default="fast", help="bundled name or ONNX file")
    options = parser.parse_args()
    options.peak = options.peak or [30.0, 100.0]
    {"gain": gain, "defects": defects}[options.what](options)


if __name__ == "__main__":
    main()
