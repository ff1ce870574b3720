"""How much a model helps on simulated stacks that it never saw, at known light levels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_restore.inference.load import load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.quality import best_gaussian, psnr
from live_restore_export.onnx.export import embed_card, read_card, write_atomically
from live_restore_export.onnx.export import load_model as load_onnx
from live_restore_export.quality.image_quality import lateral_resolution_um
from live_restore_export.simulator.simulate import (
    SimulationConfig,
    expected_electrons,
    simulate_scene,
)

# Far from every seed that training (below 1e9) and validation (from 1e9) draw from.
TEST_SEEDS = range(2_000_000_000, 2_000_000_012)
PEAKS_E = (10.0, 30.0, 100.0)
_SHAPE_ZYX = (24, 160, 160)
# A tenth of the peak: a dim cytosol and stray light under the structure, as in most live cells.
_BACKGROUND_FRACTION = 0.1
TEST_CAMERA = Camera(offset_adu=100.0, gain_adu_per_e=2.0, read_noise_e=1.6)


@dataclass(frozen=True)
class LightLevel:
    """Means over the test stacks at one light level.

    PSNR in dB, against the truth's range; resolution in um, against the truth
    (:func:`live_restore_export.quality.image_quality.lateral_resolution_um`).
    """

    peak_e: float
    raw_db: float
    best_gaussian_db: float
    restored_db: float
    worst_gain_db: float
    """Restored minus best Gaussian on the stack where that is least."""
    raw_um: float
    best_gaussian_um: float
    restored_um: float

    @property
    def gain_db(self) -> float:
        """Restored minus best Gaussian, mean (dB)."""
        return self.restored_db - self.best_gaussian_db


def exposed(
    signal: NDArray[np.float32],
    truth: NDArray[np.float32],
    peak_e: float,
    background_fraction: float,
    seed: int,
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Return a test stack and its truth, (Z, Y, X) in ADU; the noise is the same for a seed.

    ``signal`` falls on the camera, and ``truth`` is what should come back, on the same scale.
    """
    expected, wanted = (
        expected_electrons(light, peak_e, background_fraction) for light in (signal, truth)
    )
    raw = TEST_CAMERA.expose(expected, np.random.default_rng((seed, int(peak_e))))
    return raw, TEST_CAMERA.noiseless_adu(wanted)


def measure_gain(
    model_path: Path, seeds: range = TEST_SEEDS, peaks_e: tuple[float, ...] = PEAKS_E
) -> list[LightLevel]:
    """Restore simulated stacks of ``seeds`` as the daemon would, and compare with their truth.

    The yardstick is the best of many Gaussian filters, chosen for each stack on its truth
    (:func:`live_restore.simulation.quality.best_gaussian`). PSNR is taken in camera units before
    rounding, as of the Gaussian: whole grey values would cost a good network at 10 e- more than its
    own error.

    Raises
    ------
    ModelError
        Not a model that the daemon can run.
    """
    model = load_model(model_path, "cpu")
    restorer = Restorer(model, InferenceSettings(), "camera-float")
    config = SimulationConfig(shape_zyx=_SHAPE_ZYX, truth_psf_width=model.card.truth_psf_width)
    scenes = [simulate_scene(config, seed) for seed in seeds]
    levels = []
    for peak_e in peaks_e:
        decibels, resolutions_um = [], []
        for seed, scene in zip(seeds, scenes, strict=True):
            raw, truth = exposed(scene.signal, scene.truth, peak_e, _BACKGROUND_FRACTION, seed)
            images = (raw, best_gaussian(raw, truth)[0], restorer.restore(raw).volume)
            pixel_um = scene.voxel_zyx_um[2]
            decibels.append([psnr(image, truth) for image in images])
            resolutions_um.append([lateral_resolution_um(i, truth, pixel_um) for i in images])
        raw_db, gaussian_db, restored_db = np.transpose(decibels)
        raw_um, gaussian_um, restored_um = np.mean(resolutions_um, axis=0)
        levels.append(
            LightLevel(
                peak_e,
                float(raw_db.mean()),
                float(gaussian_db.mean()),
                float(restored_db.mean()),
                float(np.min(restored_db - gaussian_db)),
                float(raw_um),
                float(gaussian_um),
                float(restored_um),
            )
        )
    return levels


def as_metrics(levels: list[LightLevel], seeds: range = TEST_SEEDS) -> dict[str, object]:
    """Return what a card records of an evaluation (dB and um; keys are peaks in e-)."""

    def table(attribute: str) -> dict[str, float]:
        return {f"{v.peak_e:g}": round(float(getattr(v, attribute)), 3) for v in levels}

    return {
        "data": f"{len(seeds)} simulated stacks of {_SHAPE_ZYX}, seeds {seeds.start} and up, "
        f"unseen in training; background {_BACKGROUND_FRACTION:g} of the peak, read noise 1.6 e-",
        "psnr_raw_db": table("raw_db"),
        "psnr_best_gaussian_db": table("best_gaussian_db"),
        "psnr_restored_db": table("restored_db"),
        "gain_over_best_gaussian_db": table("gain_db"),
        "least_gain_db": table("worst_gain_db"),
        "lateral_resolution_raw_um": table("raw_um"),
        "lateral_resolution_best_gaussian_um": table("best_gaussian_um"),
        "lateral_resolution_restored_um": table("restored_um"),
    }


def record_gain(model_path: Path, levels: list[LightLevel], seeds: range = TEST_SEEDS) -> None:
    """Write a measurement into the card of a model, in place."""
    metrics = {**read_card(load_onnx(model_path)).metrics, **as_metrics(levels, seeds)}
    record_in_card(model_path, metrics=metrics)


def record_in_card(model_path: Path, **changes: object) -> None:
    """Change values of the card inside a model, in place."""
    model = load_onnx(model_path)
    embed_card(model, read_card(model).model_copy(update=changes))
    write_atomically(model.SerializeToString(), model_path)
