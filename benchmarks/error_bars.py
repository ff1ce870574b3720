"""Error bars of restored stacks: makes their table, and tests what they hold.

    python benchmarks/error_bars.py collect bars.npz --scenes 60
    python benchmarks/error_bars.py fit bars.npz --write
    python benchmarks/error_bars.py test --judges 1 --peak 10 --peak 100 --clean golgi.tif

``collect`` restores simulated stacks that no training drew, and keeps of some voxels of each what
the error may depend on, and the error. ``fit`` makes a table of one half of the scenes, scales it
to hold 90 % of the errors of the other half, and writes it into the package
(``live_restore/inference/error_bars.json``). ``test`` restores stacks of kinds that neither
training nor ``collect`` knew, and real ones photographed by the camera model, and prints which
share of the truth 90 % bars hold; with the camera as it is, and as settings that are wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import judges
import numpy as np
from live_restore_export.simulator.simulate import (
    SimulationConfig,
    expected_electrons,
    random_camera,
    simulate_scene,
)
from numpy.typing import NDArray
from trust import BACKGROUND_FRACTION, CAMERA, FIRST_SEED, TOLD, UNSEEN, clean_signal

import live_restore.inference
from live_restore.inference.error_bar_tables import FILE, table_for
from live_restore.inference.image.error_bars import (
    COVERED,
    STANDARD_ERRORS,
    ErrorBarTable,
    Features,
    agreement,
    features_of,
)
from live_restore.inference.image.gain import Gain
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.camera import Camera

# Far from every seed that training and other measurements draw.
FIRST_CALIBRATION_SEED = 2_200_000_000
CALIBRATION = SimulationConfig(
    shape_zyx=(12, 96, 96), voxel_xy_um=(0.04, 0.4), voxel_z_um=(0.1, 2.0),
    structures_per_stack=(1, 4), sharp_share=0.3, grain_share=0.3, field_share=0.3,
    read_noise_e=(0.7, 3.0), gain_adu_per_e=(0.4, 4.0),
)  # fmt: skip
LIGHTS_PER_SCENE = 4
PEAK_E = (3.0, 1000.0)
BACKGROUND = (0.01, 0.5)
KEPT = 6000
"""Voxels of a stack."""
# Where factors are measured. Below and above, the last one holds.
SIGNAL = (0.5, 1, 2, 3, 4.5, 7, 11, 18, 30)
STRUCTURE = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
TAKEN = (0.8, 0.95, 1.0, 1.05, 1.15, 1.4, 2.0)
"""What of the noise is taken away: less than 1 where the network lets some of it through."""
FEWEST = 3000
"""Voxels from which on a class decides by itself."""


ANY_TABLE = ErrorBarTable(
    np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.ones((2, 2, 2)), np.ones(2)
)
"""Of which nothing is taken but whether a stack has bars at all."""


def told(camera: Camera) -> CameraSettings:
    """Return the settings that a measurement of the camera would give."""
    rms = 1.0 if camera.pixels is None else float(np.sqrt(np.mean(camera.pixels.read_noise**2)))
    return CameraSettings(
        gain_adu_per_e=camera.gain_adu_per_e,
        offset_adu=camera.offset_adu,
        read_noise_e=camera.read_noise_e * rms,
    )


def between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def collect_scene(model: str, number: int) -> list[dict[str, Any]]:
    """Return what some voxels of one scene under several lights show."""
    loaded = load_model(find_model(model), "cpu", 1)
    scene = simulate_scene(CALIBRATION, FIRST_CALIBRATION_SEED + number)
    rng = np.random.default_rng([FIRST_CALIBRATION_SEED, number])
    found = []
    for _ in range(LIGHTS_PER_SCENE):
        camera = random_camera(CALIBRATION, rng)
        if rng.random() < CALIBRATION.scmos_share and camera.pixels is None:
            camera = camera.with_pixel_maps(CALIBRATION.shape_zyx[1:], rng)
        expected = expected_electrons(scene.signal, between(rng, PEAK_E), between(rng, BACKGROUND))
        raw, truth = camera.expose(expected, rng), camera.noiseless_adu(expected)
        settings = told(camera)
        restorer = Restorer(
            loaded, InferenceSettings(), "camera-float", settings, error_bars=ANY_TABLE
        )
        done = restorer.restore(raw)
        assert done.gain is not None
        assert done.error_bars is not None
        if done.error_bars.standard_error is None:
            continue
        features = features_of(raw, np.asarray(done.volume, np.float32), settings)
        error = np.abs(done.volume - truth) / features.noise
        kept = rng.choice(error.size, KEPT, replace=False)
        columns = (error, features.noise, features.signal, features.structure, features.taken)
        found.append(
            {
                "scene": number,
                "db": np.nan if done.gain.db is None else done.gain.db,
                "error_db": np.nan if done.gain.error_db is None else done.gain.error_db,
                "voxels": np.stack([each.ravel()[kept] for each in columns]),
            }
        )
    return found


def collect(options: argparse.Namespace) -> None:
    """Write what simulated stacks show."""
    numbers = range(options.first, options.first + options.scenes)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        scenes = pool.map(collect_scene, itertools.repeat(options.model), numbers)
        stacks = list(itertools.chain.from_iterable(scenes))
    np.savez(
        options.file,
        voxels=np.stack([each.pop("voxels") for each in stacks]).astype(np.float32),
        stacks=np.array([tuple(each.values()) for each in stacks], np.float64),
    )
    print(f"{len(stacks)} stacks")


def nearest(values: NDArray[np.float32], known: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the numbers of the nearest places, by their logarithms."""
    places = np.interp(np.log(np.maximum(values, 1e-6)), np.log(known), np.arange(len(known)))
    return np.rint(places).astype(np.int64)


def factors_of(voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factors of classes; those of few voxels lean on their neighbours'."""
    error, _, *found = voxels
    places = [
        nearest(values, known)
        for values, known in zip(found, (SIGNAL, STRUCTURE, TAKEN), strict=True)
    ]
    shape = (len(SIGNAL), len(STRUCTURE), len(TAKEN))
    where = np.ravel_multi_index(places, shape)
    factors = np.full(shape, np.nan)
    for number in np.ndindex(shape):
        # The class itself, and as many classes around it as it takes.
        for reach in range(max(shape)):
            near = (
                np.ones(len(where), bool) if reach else where == np.ravel_multi_index(number, shape)
            )
            if reach:
                for place, at in zip(places, number, strict=True):
                    near &= np.abs(place - at) <= reach
            if np.count_nonzero(near) >= FEWEST:
                break
        factors[number] = np.quantile(error[near], COVERED)
    return np.asarray(factors, np.float32)


def table_of(factors: NDArray[np.float32]) -> ErrorBarTable:
    """Return the table of such factors."""
    found = (np.asarray(each, float) for each in (SIGNAL, STRUCTURE, TAKEN, factors))
    return ErrorBarTable(*found, scale=np.ones(len(SIGNAL)))


def covered(table: ErrorBarTable, voxels: NDArray[np.float32], gain: Gain) -> NDArray[np.float32]:
    """Return the half widths of the bars of one stack's voxels over their errors."""
    error, noise, *found = voxels
    bars = table.half_widths(Features(noise, *found))
    stated = float(np.mean((bars / STANDARD_ERRORS) ** 2) / np.mean(noise**2))
    return np.asarray(bars * agreement(stated, gain) / noise / np.maximum(error, 1e-6), np.float32)


def fit(options: argparse.Namespace) -> None:
    """Make the table of a model."""
    kept = [np.load(path) for path in options.file]
    voxels = np.concatenate([each["voxels"] for each in kept])
    stacks = np.concatenate([each["stacks"] for each in kept])
    first = stacks[:, 0] % 2 == 0
    factors = factors_of(np.concatenate(list(voxels[first]), axis=1))
    held = [
        (each, Gain(_known(db), _known(error_db), "", 1.0))
        for each, (_, db, error_db) in zip(voxels[~first], stacks[~first], strict=True)
    ]
    ratios = np.stack([covered(table_of(factors), *each) for each in held])
    place = nearest(voxels[~first][:, 2], SIGNAL)
    scale = np.array([1 / np.quantile(ratios[place == n], 1 - COVERED) for n in range(len(SIGNAL))])
    for what, by in (("as they are", np.ones(len(SIGNAL))), ("scaled", scale)):
        inside = ratios * by[place] >= 1
        of_classes = [round(100 * float(inside[place == n].mean())) for n in range(len(SIGNAL))]
        print(f"of the second half, {what}: {_spread(inside.mean(axis=1))}; by signal {of_classes}")
    print("scale", np.round(scale, 2), "of", np.bincount(place.ravel()))
    if options.write:
        card = load_model(find_model(options.model), "cpu", 1).card
        path = Path(live_restore.inference.__file__).with_name(FILE)
        tables = json.loads(path.read_text(encoding="utf-8"))
        before = tables.get(card.weights_sha256, {})
        tables[card.weights_sha256] = {
            "tested": options.tested or before.get("tested", ""),
            "model": f"{card.name} {card.version}",
            "measured": f"{len(stacks)} simulated stacks, half of them to scale",
            "signal": SIGNAL,
            "structure": STRUCTURE,
            "taken": TAKEN,
            "factors": np.round(factors, 4).tolist(),
            "scale": np.round(scale, 4).tolist(),
        }
        path.write_text(json.dumps(tables, separators=(",", ":")) + "\n", encoding="utf-8")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _spread(shares: NDArray[np.float64]) -> str:
    low, middle, high = np.percentile(shares, (5, 50, 95))
    return (
        f"{100 * np.mean(shares):.1f} % (stack by stack: median {100 * middle:.0f}, 5 % below "
        f"{100 * low:.0f}, 5 % above {100 * high:.0f})"
    )


def scenes_of(options: argparse.Namespace) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield names and noise-free stacks (1 at their 99.9th percentile)."""
    for number in range(options.scenes):
        yield f"simulated {number}", simulate_scene(UNSEEN, FIRST_SEED + number).signal
    for kind in judges.KINDS:
        for number in range(options.judges):
            yield f"judge {kind} {number}", judges.signal(kind, number)
    for path in options.clean:
        yield f"real {path.stem}", clean_signal(path)


def covered_of(
    model: str, name: str, signal: NDArray[np.float32], peak_e: float, wrong: bool
) -> list[str]:
    """Return a line for each camera that is told."""
    loaded = load_model(find_model(model), "cpu", 1)
    table = table_for(loaded.card)
    expected = expected_electrons(signal, peak_e, BACKGROUND_FRACTION)
    raw = CAMERA.expose(expected, np.random.default_rng(int(peak_e)))
    truth = CAMERA.noiseless_adu(expected)
    bright = signal > 0.25
    lines = []
    for what, numbers in TOLD.items():
        if what != "right" and not wrong:
            continue
        named = zip(("gain_adu_per_e", "offset_adu", "read_noise_e"), numbers, strict=True)
        restorer = Restorer(
            loaded, InferenceSettings(), "camera-float", CameraSettings(**dict(named)),
            error_bars=table,
        )  # fmt: skip
        done = restorer.restore(raw)
        assert done.error_bars is not None
        assert done.gain is not None
        bars = done.error_bars.standard_error
        if bars is None:
            lines.append(f"{name} | {peak_e:g} | {what} | not known | | ")
            continue
        inside = np.abs(done.volume - truth) <= STANDARD_ERRORS * bars
        known = np.isfinite(bars)
        of_bright = 100 * inside[known & bright].mean()
        lines.append(
            f"{name} | {peak_e:g} | {what} | {100 * inside[known].mean():.1f} | {of_bright:.1f} | "
            f"{done.gain.in_words}"
        )
    return lines


def test(options: argparse.Namespace) -> None:
    """Print which share of the truth 90 % bars hold, stack by stack; and of the bright quarter."""
    print("stack | peak e- | camera | all voxels (%) | brighter than a quarter of the peak | gain")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        waiting = [
            pool.submit(covered_of, options.model, name, signal, peak_e, options.wrong)
            for name, signal in scenes_of(options)
            for peak_e in options.peak or [10.0, 100.0]
        ]
        for each in waiting:
            print(*each.result(), sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    collecting = commands.add_parser("collect")
    collecting.set_defaults(run=collect)
    collecting.add_argument("file", type=Path)
    collecting.add_argument("--scenes", type=int, default=60)
    collecting.add_argument("--first", type=int, default=0, help="number of the first scene")
    fitting = commands.add_parser("fit")
    fitting.set_defaults(run=fit)
    fitting.add_argument("file", type=Path, nargs="+")
    fitting.add_argument("--write", action="store_true", help="into the package")
    fitting.add_argument("--tested", help="what `test` found, for the reports")
    testing = commands.add_parser("test")
    testing.set_defaults(run=test)
    testing.add_argument("--scenes", type=int, default=0)
    testing.add_argument("--judges", type=int, default=0, help="judge stacks of each kind")
    testing.add_argument("--peak", type=float, action="append", help="photo-electrons at the peak")
    testing.add_argument("--clean", type=Path, action="append", default=[], help="real stack")
    testing.add_argument("--wrong", action="store_true", help="with wrong cameras, too")
    for each in (collecting, fitting, testing):
        each.add_argument("--model", default="fast", help="bundled name or ONNX file")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
