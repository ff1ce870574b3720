"""How far can the numbers be trusted that are stated without a truth? Compared with the truth.

    python benchmarks/trust.py gain --scenes 3 --peak 30 --peak 100 --clean golgi.tif
    python benchmarks/trust.py brightness --scenes 0 --judges 1 --peak 3 --peak 7.5 --peak 30
    python benchmarks/trust.py less-light --scenes 8 --peak 30
    python benchmarks/trust.py over-time --peak 3 --peak 10 --peak 30
    python benchmarks/trust.py cost
    python benchmarks/trust.py defects

``gain``: the gain over raw of simulated stacks of seeds and structure counts that no training drew,
of kinds that none drew (``--judges``), and of real stacks (``--clean``), taken as truth and
photographed by the camera model; with the camera as it is, and as settings that are wrong. A line
per stack. ``brightness``: what became of the light of bright regions, against the truth, and what
``output.keep_flux`` makes of it. ``less-light``: what a half, a quarter and a tenth of the light
cost, against stacks that were photographed with so much light. ``over-time``: brightness and
sharpness, restored over raw, of a time-lapse in which nothing jumps. ``cost``: of all estimates,
over the network's time in the same call. ``defects``: which hot pixels and cosmic rays are found,
by their height, and what is taken for one in stacks that have none.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import judges
import numpy as np
import tifffile
from live_restore_export.quality.brightness import brightness
from live_restore_export.simulator.simulate import (
    SimulationConfig,
    expected_electrons,
    simulate_scene,
)
from numpy.typing import NDArray

from live_restore.inference.image.defects import find_defects
from live_restore.inference.image.flux import flux_bias
from live_restore.inference.image.less_light import SHARES
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings, TrustSettings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.quality import psnr
from live_restore.simulation.scene import LivingCell
from live_restore.stack import Volume, VoxelSize
from live_restore.trust.over_time import Moment, jumps
from live_restore.trust.sharpness import sharpness
from live_restore.trust.stack_trust import assess

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


def scenes(options: argparse.Namespace) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the names and signals of all stacks that are asked for."""
    first = options.first
    found = [
        (f"simulated {n}", simulate_scene(UNSEEN, FIRST_SEED + n).signal)
        for n in range(first, first + options.scenes)
    ]
    found += [
        (f"judge {kind} {n}", judges.signal(kind, n))
        for kind in judges.KINDS
        for n in range(first, first + options.judges)
    ]
    return [*found, *((f"real {path.stem}", clean_signal(path)) for path in options.clean)]


def camera_as(told: str) -> CameraSettings:
    """Return the settings of a camera, as it is or wrong."""
    gain_adu_per_e, offset_adu, read_noise_e = TOLD[told]
    return CameraSettings(
        gain_adu_per_e=gain_adu_per_e, offset_adu=offset_adu, read_noise_e=read_noise_e
    )


def gain(options: argparse.Namespace) -> None:
    """Print estimate and truth, stack by stack."""
    model = load_model(find_model(options.model), "cpu", 1)
    for name, signal in scenes(options):
        for peak_e in options.peak:
            expected = expected_electrons(signal, peak_e, BACKGROUND_FRACTION)
            raw = CAMERA.expose(expected, np.random.default_rng(int(peak_e)))
            truth = CAMERA.noiseless_adu(expected)
            for told in TOLD:
                restorer = Restorer(
                    model, InferenceSettings(), "camera-float", camera_as(told), gain_every=1
                )
                found = restorer.restore(raw)
                assert found.gain is not None
                errors = [np.mean((image - truth) ** 2) for image in (raw, found.volume)]
                true_db = 10 * np.log10(errors[0] / errors[1])
                said, as_set = found.gain.in_words, found.gain.noise_as_set
                print(f"{name} | {peak_e:g} | {told} | {true_db:.1f} | {said} | {as_set:.3f}",
                      flush=True)  # fmt: skip


def true_bias(image: NDArray[np.generic], truth: NDArray[np.float32], peak_e: float) -> float:
    """Return what the light of bright regions really lacks (%), the flat background known."""
    floor = CAMERA.noiseless_adu(np.array(BACKGROUND_FRACTION * peak_e))
    found = brightness(image, truth, float(floor))
    return float("nan") if found is None else 100 * (found.ratio - 1)


def flux(options: argparse.Namespace) -> None:
    """Print what became of the light, as stated and in truth, without and with keep_flux."""
    model = load_model(find_model(options.model), "cpu", 2)
    restorers = [
        Restorer(model, InferenceSettings(), "camera-float", keep_flux=keep)
        for keep in (False, True)
    ]
    for name, signal in scenes(options):
        for peak_e in options.peak:
            expected = expected_electrons(signal, peak_e, BACKGROUND_FRACTION)
            raw = CAMERA.expose(expected, np.random.default_rng(int(peak_e)))
            truth = CAMERA.noiseless_adu(expected)
            told = []
            for restorer in restorers:
                image = restorer.restore(raw).volume
                said = flux_bias(raw, image)
                same = flux_bias(truth, image).bias_percent  # of the same regions and background
                true = f"{true_bias(image, truth, peak_e):+.1f} ({same or np.nan:+.1f})"
                told.append(f"{true} | {said.in_words} | {psnr(image, truth):.2f}")
            print(f"{name} | {peak_e:g} | {' | '.join(told)}", flush=True)


def less_light(options: argparse.Namespace) -> None:
    """Print what less light costs, as stated, and as photographed with less."""
    model = load_model(find_model(options.model), "cpu", 2)
    plain = Restorer(model, InferenceSettings(), "camera-float")
    for name, signal in scenes(options):
        for peak_e in options.peak:
            expected = expected_electrons(signal, peak_e, BACKGROUND_FRACTION)
            rng = np.random.default_rng(int(peak_e))
            raw, truth = CAMERA.expose(expected, rng), CAMERA.noiseless_adu(expected)
            full = psnr(plain.restore(raw).volume, truth)
            costs, biases = [], []
            for share in SHARES:
                image = plain.restore(CAMERA.expose(share * expected, rng)).volume
                image = (image - CAMERA.offset_adu) / share + CAMERA.offset_adu
                costs.append(full - psnr(image, truth))
                biases.append(true_bias(image, truth, peak_e))
            for told in options.told or ["right"]:
                restorer = Restorer(
                    model, InferenceSettings(), "camera-float", camera_as(told), "keep",
                    None, 1, 1,
                )  # fmt: skip
                said = restorer.restore(raw).less_light
                assert said is not None
                levels = [
                    f"{cost:.2f} dB ({bias:+.1f} %): {level.cost_db}, {level.flux.bias_percent}"
                    for cost, bias, level in zip(costs, biases, said.levels, strict=False)
                ]
                what = " | ".join(levels) or said.in_words
                print(f"{name} | {peak_e:g} | {told} | {what}", flush=True)


def over_time(options: argparse.Namespace) -> None:
    """Print what a time-lapse of a moving cell keeps of its light and detail."""
    model = load_model(find_model(options.model), "cpu", 2)
    restorer = Restorer(model, InferenceSettings(), "camera-float")
    for peak_e in options.peak:
        cell = LivingCell((12, 160, 160), peak_e, peak_e * BACKGROUND_FRACTION, camera=CAMERA)
        earlier: list[Moment] = []
        for time in range(12):
            raw = cell.exposed(time)
            trust = assess(raw, restorer.restore(raw), model.card, VoxelSize())
            now = Moment.of(time, trust)
            print(f"{peak_e:g} | {now} | {jumps(earlier, now)}", flush=True)
            earlier.append(now)


def cost(options: argparse.Namespace) -> None:
    """Print what the estimates take, each over the network's time of the same stack."""
    model = load_model(find_model(options.model), "cpu", 2)
    settings = TrustSettings()
    for shape in ((16, 128, 128), (16, 192, 192), (20, 232, 232), (32, 256, 256)):
        raw = LivingCell(shape, 30.0, 3.0, camera=CAMERA).exposed(0)
        restorer = Restorer(
            model, InferenceSettings(), "camera", camera_as("right"), "keep", None, 1, 1
        )
        shares = []
        for _ in range(3):
            found = restorer.restore(raw)
            began = perf_counter()
            flux_bias_and_sharpness(raw, found.volume)
            took = perf_counter() - began
            network = found.seconds["network"]
            gain_s, less_s = found.seconds["gain"], found.seconds["less_light"]
            sampled = gain_s / settings.every
            sampled += less_s / (settings.every * settings.less_light_every)
            shares.append(
                [gain_s / network, less_s / network, took / network, (sampled + took) / network]
            )
        gain_, less, each, whole = np.median(shares, axis=0)
        print(f"{shape} | gain {gain_:.2f} | less light {less:.2f} | brightness and sharpness "
              f"{each:.3f} | all of it, sampled {whole:.3f}", flush=True)  # fmt: skip


def flux_bias_and_sharpness(raw: Volume, restored: Volume) -> None:
    """Compute what every stack gets."""
    sharpness(raw, restored, flux_bias(raw, restored))


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
    parser.add_argument(
        "what", choices=("gain", "brightness", "less-light", "over-time", "cost", "defects")
    )
    parser.add_argument("--scenes", type=int, default=3, help="simulated scenes (default 3)")
    parser.add_argument("--judges", type=int, default=0, help="judge stacks of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first of both")
    parser.add_argument("--peak", type=float, action="append", help="photo-electrons at the peak")
    parser.add_argument("--told", action="append", choices=list(TOLD), help="the camera's settings")
    parser.add_argument("--clean", type=Path, action="append", default=[], help="real stack")
    parser.add_argument("--model", default="fast", help="bundled name or ONNX file")
    options = parser.parse_args()
    options.peak = options.peak or [30.0, 100.0]
    what = {"gain": gain, "brightness": flux, "less-light": less_light, "over-time": over_time,
            "cost": cost, "defects": defects}  # fmt: skip
    what[options.what](options)


if __name__ == "__main__":
    main()
