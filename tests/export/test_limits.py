"""The envelope: right where the answer is known, and the command around it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from deferred import deferred
from live_restore_export.limits.sweeps import SWEEPS, Condition, Sample, Scenes, _further_blur
from live_restore_export.quality.image_quality import lateral_resolution_um, ssim
from live_restore_export.simulator.simulate import SimulationConfig
from PIL import Image
from scipy import ndimage

from live_restore.inference.chain import chained
from live_restore.inference.load import bundled_models, load_model
from live_restore.inference.model.card import ModelCard
from tests.support.models import write_model

if TYPE_CHECKING:
    from live_restore_export.limits.measure import Extent, Measured

limits_measure = deferred("live_restore_export.limits.measure")
limits_verdict = deferred("live_restore_export.limits.verdict")

PHOTONS, BACKGROUND = SWEEPS[0], SWEEPS[1]


def tiny_extent() -> Extent:
    return limits_measure.Extent((8, 32, 32), 1, quick=True)


def stack(
    snr: float, raw_db: float, gaussian_db: float, restored_db: float, **changes: Any
) -> Measured:
    raw, gaussian, restored = (
        limits_measure.Quality(db, 0.5, 0.3) for db in (raw_db, gaussian_db, restored_db)
    )
    fields = {"sweep": "photons", "value": snr, "seed": 1, **changes}
    return limits_measure.Measured(
        **fields, snr_estimated=snr, snr_true=snr, raw=raw, gaussian=gaussian, restored=restored
    )


def helps(*stacks: Measured) -> bool:
    (point,) = limits_verdict.points(stacks, "photons")
    return point.helps


def test_when_a_model_helps() -> None:
    assert helps(stack(1, 20, 30, 30))
    assert not helps(stack(1, 20, 30, 29.9)), "a filter would do"
    assert not helps(stack(1, 31, 30, 30.9)), "the raw stack is better"
    assert helps(stack(1, 20, 30, 29), stack(1, 20, 30, 32)), "on average"
    assert not helps(stack(1, 20, 22, 40), stack(1, 20, 22, 19)), "one stack is worse than raw"


def test_the_range_holds_no_point_that_failed() -> None:
    good, bad = (20.0, 30.0, 33.0), (20.0, 30.0, 25.0)
    measured = [stack(snr, *good) for snr in (2, 4, 8, 16)] + [stack(1, *bad), stack(32, *bad)]
    other = [stack(snr, *good, sweep="background", value=snr) for snr in (5, 6)]
    whole = limits_verdict.envelope_of([*measured, *other], "so", (PHOTONS, BACKGROUND))
    assert whole.snr == (2, 16)
    assert whole.limits["photons"].helps == (2, 16)
    assert whole.limits["photons"].tested == (1, 32)
    broken = [stack(3, *bad, sweep="background", value=3)]
    assert limits_verdict.envelope_of([*measured, *broken], "so", (PHOTONS, BACKGROUND)).snr == (
        4,
        16,
    )
    assert limits_verdict.envelope_of([stack(1, *bad)], "so", (PHOTONS,)).snr is None
    assert limits_verdict.longest_run([1, 2, 3, 300], [True, True, False, True]) == (1, 2)


def test_structural_similarity() -> None:
    truth = ndimage.gaussian_filter(np.random.default_rng(1).random((8, 24, 24)), 1)
    assert ssim(truth, truth) == pytest.approx(1)
    assert ssim(np.zeros_like(truth), truth) < 0.5


@pytest.mark.parametrize("sigma", [2.0, 3.0])
def test_resolution_is_where_noise_and_structure_are_equally_strong(sigma: float) -> None:
    """Of white structure seen through a Gaussian, in white noise, it can be calculated."""
    rng = np.random.default_rng(2)
    truth = ndimage.gaussian_filter(
        rng.standard_normal((8, 128, 128)), (0, sigma, sigma), mode="wrap"
    )
    noise = 0.02
    # Correlation 0.5: |OTF|^2 / (|OTF|^2 + noise^2) = 1/4, |OTF| = exp(-2 (pi sigma f)^2).
    frequency = np.sqrt(np.log(3 / noise**2) / 4) / (np.pi * sigma)
    noisy = truth + noise * rng.standard_normal(truth.shape)
    found = lateral_resolution_um(noisy, truth, 0.1)
    assert found == pytest.approx(0.1 / frequency, rel=0.08)
    assert lateral_resolution_um(truth, truth, 0.1) == pytest.approx(0.2)
    assert lateral_resolution_um(-truth, truth, 0.1) == pytest.approx(12.8)


def test_a_model_that_sharpens_is_held_to_a_sharper_truth() -> None:
    def sample(psf_width: float, blur: float = 1.0) -> Sample:
        card = ModelCard(
            name="a",
            trained_voxel_um={"xy": (0.05, 0.05), "z": (0.15, 0.15)},
            truth_psf_width=psf_width,
        )
        return Scenes((12, 64, 64), card).sample(Condition(blur=blur), 2_000_000_001)

    denoised, sharpened = sample(1.0), sample(0.5)
    assert np.array_equal(denoised.truth, denoised.signal)
    assert np.array_equal(sharpened.signal, denoised.signal)
    assert _fineness(sharpened.truth) > 1.2 * _fineness(sharpened.signal)
    blurred = sample(0.5, blur=2.0)
    assert _fineness(blurred.signal) < _fineness(sharpened.signal)
    assert _fineness(blurred.signal) < _fineness(blurred.truth) < _fineness(sharpened.truth)


def test_every_sweep_changes_what_it_says() -> None:
    scenes = Scenes((8, 32, 32), ModelCard(name="a", trained_voxel_um={"xy": (0.1, 0.1)}))
    base = scenes.sample(Condition(), 2_000_000_000)
    assert base.voxel_zyx_um[1:] == (0.1, 0.1)
    assert np.percentile(base.signal, 99.9) == pytest.approx(1)
    again = scenes.sample(Condition(), 2_000_000_000)
    assert np.array_equal(base.signal, again.signal)
    blurred = scenes.sample(Condition(blur=3), 2_000_000_000)
    assert _fineness(blurred.signal) < 0.7 * _fineness(base.signal)
    assert scenes.sample(Condition(voxel=2), 2_000_000_000).voxel_zyx_um[1] == pytest.approx(0.2)
    dense = scenes.sample(Condition(density=4), 2_000_000_000)
    assert dense.signal.mean() > base.signal.mean()
    for sweep in SWEEPS:
        conditions = list(sweep.conditions(quick=False).values())
        assert len(set(conditions)) == len(conditions) == len(sweep.values)
        assert set(sweep.quick_values) <= set(sweep.values) | {2, 0.5, 3}


def _fineness(signal: np.ndarray) -> float:
    return float(np.abs(np.diff(signal)).mean() / signal.std())


@pytest.mark.parametrize("factor", [1.5, 4.0])
def test_a_blur_makes_the_whole_psf_that_much_wider(factor: float) -> None:
    config = SimulationConfig(
        emission_um=(0.4, 0.6), numerical_aperture=(1.0, 1.1), voxel_xy_um=(0.1, 0.1),
        voxel_z_um=(0.2, 0.2),
    )  # fmt: skip
    first = np.array(
        [1.5, 1.0, 1.0]
    )  # voxels: sigma 0.21 * 0.5 um / 1.05 laterally, 3 times axially
    assert np.hypot(first, _further_blur(config, factor)) == pytest.approx(factor * first)


def test_a_network_that_does_nothing_helps_nowhere(tmp_path: Path) -> None:
    """An identity is exactly as good as raw, and never as good as the best filter."""
    measured = limits_measure.measure_limits(
        [write_model(tmp_path / "tiny.onnx")], tiny_extent(), sweeps=(PHOTONS,)
    )
    assert [m.value for m in measured] == [1, 10, 100, 1000]
    for m in measured:
        assert m.restored.psnr_db == pytest.approx(m.raw.psnr_db, abs=0.05)
        assert m.gaussian.psnr_db >= m.raw.psnr_db
    envelope = limits_verdict.envelope_of(measured, "so", (PHOTONS,))
    assert envelope.limits["photons"].tested == (1, 1000)
    assert envelope.snr is None or envelope.snr[0] > measured[1].snr_estimated


def test_the_command_writes_table_figure_and_card(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live_restore_export.limits.measure.QUICK", tiny_extent())
    full = replace(
        tiny_extent(), stacks=5
    )  # --stacks takes one of them; how far it helps is not asked
    monkeypatch.setattr("live_restore_export.limits.measure.FULL", full)
    model = tmp_path / "fast.onnx"
    shutil.copyfile(bundled_models()["fast"], model)
    done = command("limits", model, "--record", "--json", "--stacks", 1)
    assert done.code == 0, done.err
    said = json.loads(done.out)
    folder = tmp_path / "fast_limits"
    assert {p.name for p in folder.iterdir()} == {"limits.csv", "limits.json", "limits.png"}
    with (folder / "limits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(said["points"]) == sum(len(s.quick_values) for s in SWEEPS)
    assert {"snr_estimated", "raw_psnr_db", "restored_resolution_um"} <= set(rows[0])
    with Image.open(folder / "limits.png") as figure:
        assert figure.size == (1200, 640)
    envelope = load_model(model, "cpu").card.envelope
    assert envelope is not None
    assert envelope.model_dump(mode="json") == said["envelope"]
    assert set(envelope.limits) == {s.name for s in SWEEPS}
    assert "seeds 2000000000" in envelope.measured


def test_a_chain_is_measured_as_a_chain(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last model's card says where it helps after the first; its own envelope stays."""
    monkeypatch.setattr("live_restore_export.limits.measure.FULL", tiny_extent())
    first = write_model(tmp_path / "tiny.onnx")
    last = Path(shutil.copyfile(bundled_models()["fast"], tmp_path / "fast.onnx"))
    before = load_model(last, "cpu").card
    done = command("limits", first, last, "--record", "--json", "--stacks", 1)
    assert done.code == 0, done.err
    said = json.loads(done.out)["envelope"]
    assert (tmp_path / "tiny_fast_limits" / "limits.png").exists()
    models = [load_model(path, "cpu") for path in (first, last)]
    card = chained(models).card
    assert card.envelope is not None
    assert card.envelope.model_dump(mode="json") == said
    assert card.unmeasured_note() == ""
    assert models[1].card.envelope == before.envelope
    assert models[1].card.weights_sha256 == before.weights_sha256
    assert chained(models[::-1]).card.envelope is None
    with (tmp_path / "tiny_fast_limits" / "limits.csv").open() as file:
        restored = {float(row["restored_psnr_db"]) for row in csv.DictReader(file)}
    alone = limits_measure.measure_limits([first], tiny_extent(), sweeps=(PHOTONS,))
    assert not restored & {round(m.restored.psnr_db, 4) for m in alone}


def test_wrong_use_is_one_line(tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    taken = tmp_path / "file"
    taken.write_bytes(b"")
    fast = bundled_models()["fast"]
    two = write_model(tmp_path / "two.onnx", card={
        "name": "two", "input_channels": 2, "output_channels": 2}, shape=("n", 2, "z", "y", "x"),
    )  # fmt: skip
    for arguments, message in [
        ((tmp_path / "no.onnx",), "is not an ONNX file"),
        ((fast, "--quick", "--record"), "leave out --quick"),
        ((fast, "--quick", "--stacks", 13), "can be 12 at most"),
        ((fast, "--quick", "-o", taken), "cannot be made a folder"),
        ((two, "--quick"), "takes 2 channels"),
    ]:
        done = command("limits", *arguments)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert message in done.err
