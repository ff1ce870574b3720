"""A model learns from noisy stacks alone, and is used only where that was worth it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import tifffile
from deferred import deferred
from live_restore_export.adaptation.examples import NoisyStack, draw_batch
from live_restore_export.adaptation.judge import judge
from live_restore_export.adaptation.left_out import Difference, evidence
from live_restore_export.adaptation.options import AdaptOptions
from live_restore_export.adaptation.run_stacks import RunStacks, find_stacks, read_run
from numpy.typing import NDArray
from training_files import clean_stack, write_stack

from live_restore.cli.main import main as live_restore
from live_restore.errors import TrainingError, UsageError
from live_restore.inference.image.thinning import thinned
from live_restore.settings.camera import CameraSettings
from live_restore.settings.load import load_settings
from live_restore.settings.model import ModelRule
from live_restore.simulation.camera import Camera
from tests.support.plane_files import generic, write_plane

if TYPE_CHECKING:
    from live_restore_export.network import RCAN

fine_tuning = deferred("live_restore_export.adaptation.fine_tune")
networks = deferred("live_restore_export.network")
onnx_export = deferred("live_restore_export.onnx.export")

SHAPE = (8, 64, 64)
CAMERA = Camera(offset_adu=100, gain_adu_per_e=2, read_noise_e=1.6)
TOLD = CameraSettings(gain_adu_per_e=2, offset_adu=100, read_noise_e=1.6)
CONFIG = "[camera]\ngain_adu_per_e = 2\noffset_adu = 100\nread_noise_e = 1.6\n"


def exposed(seed: int, peak_e: float = 30.0) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Return a noisy stack and its truth (ADU)."""
    light = peak_e * (clean_stack(seed, SHAPE) + 0.1)
    raw = CAMERA.expose(light, np.random.default_rng(seed))
    return raw, CAMERA.noiseless_adu(light)


def noisy(seed: int) -> NoisyStack:
    raw, truth = exposed(seed)
    return NoisyStack(raw, truth, TOLD, (2.0, 99.9))


def copying() -> RCAN:
    """Return a network that returns nearly what it is given."""
    deferred("torch").manual_seed(0)
    network = networks.RCAN(networks.RCANConfig(1, 1, 4, 2))
    networks.begin_near_identity(network)
    return network.eval()


def test_the_photons_left_out_tell_the_error_without_the_truth() -> None:
    raw, truth = exposed(1)
    dealt = thinned(raw, truth, 0.9, TOLD, np.random.default_rng(0))
    kept_truth = (truth - 100) * 0.9 + 100
    right = evidence(kept_truth, dealt.left_out_e, raw, 0.9, TOLD)
    wrong = evidence(kept_truth + 0.9 * 2 * 4.0, dealt.left_out_e, raw, 0.9, TOLD)
    # An error of 4 e- everywhere is 16 e-**2; the noise of the rest, 70 e-**2, averages out.
    assert abs(right.squared_error.mean()) < 1.5
    assert wrong.squared_error.mean() == pytest.approx(16, abs=2.0)
    assert Difference.of(wrong.surprise, right.surprise).certain(5)
    assert Difference.of(right.surprise, wrong.surprise).certainly_worse(5)


def test_chance_is_no_difference() -> None:
    values = np.random.default_rng(0).normal(0, 1, 400)
    apart = Difference.of(values, values + np.random.default_rng(1).normal(0, 0.1, 400))
    assert not apart.certain(3)
    assert not apart.certainly_worse(3)
    assert not Difference.of(values[:1], values[:1] - 1).certain(2), "one block tells nothing"


def test_the_rest_of_the_light_is_a_truth_with_noise_of_its_own() -> None:
    light = np.full(SHAPE, 20.0, np.float32)
    raw = CAMERA.expose(light, np.random.default_rng(3))
    stack = NoisyStack(raw, CAMERA.noiseless_adu(light), TOLD, (2.0, 99.9))
    batch, variances = draw_batch([stack], (8, 32, 32), 80, np.random.default_rng(0))
    even = np.ptp(batch.truth, axis=(1, 2, 3, 4)) < 1e-6
    assert 2 <= even.sum() <= 20, "a tenth of noise alone, whose truth is even"
    kept, rest = batch.noisy[~even], batch.truth[~even]
    # All light is even, so that what varies is noise: none of it is in both.
    correlations = [
        np.corrcoef(k.ravel(), r.ravel())[0, 1] for k, r in zip(kept, rest, strict=True)
    ]
    assert abs(np.mean(correlations)) < 0.01
    assert kept.mean() == pytest.approx(rest.mean(), abs=0.01)
    found = rest.var(axis=(1, 2, 3, 4)) / variances[~even]
    assert found == pytest.approx(np.ones(len(found)), abs=0.1)


def test_it_learns_to_take_noise_away_and_leaves_its_beginning_alone() -> None:
    start = copying()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    options = AdaptOptions(
        minutes=1, steps=12, learning_rate=1e-2, batch=2, patch_zyx=(8, 32, 32), device="cpu"
    )
    stacks = [noisy(seed) for seed in range(4)]
    network, looks = fine_tuning.fine_tune(start, stacks[:3], stacks[3:], options, lambda _: None)
    assert looks[0].step == 0
    assert min(look.surprise for look in looks[1:]) < looks[0].surprise - 0.01
    assert all((before[name] == value).all() for name, value in start.state_dict().items())
    again, _ = fine_tuning.fine_tune(start, stacks[:3], stacks[3:], options, lambda _: None)
    assert all(
        (value == again.state_dict()[name]).all() for name, value in network.state_dict().items()
    ), "the same stacks make the same network"


def test_weights_that_diverge_are_an_error() -> None:
    options = AdaptOptions(steps=5, learning_rate=1e30, batch=1, patch_zyx=(8, 32, 32))
    stacks = [noisy(seed) for seed in range(2)]
    with pytest.raises(TrainingError, match="smaller --learning-rate"):
        fine_tuning.fine_tune(copying(), stacks[:1], stacks[1:], options, lambda _: None)


def smoothing(sigma: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    from scipy import ndimage

    return lambda stack: np.asarray(ndimage.gaussian_filter(stack, sigma), np.float32)


def test_only_what_is_certainly_better_may_be_used() -> None:
    held_out = [noisy(seed) for seed in (11, 12)]
    better = judge(held_out, smoothing(0.3), smoothing(1.0), 0)
    assert better.refused_because == ""
    assert better.shares[0].after < better.shares[0].before / 2
    envelope = better.envelope(2, "run_1")
    assert envelope.snr is not None
    assert "run_1" in envelope.measured
    same = judge(held_out, smoothing(1.0), smoothing(1.0), 0)
    assert "not certainly better" in same.refused_because
    worse = judge(held_out, smoothing(1.0), smoothing(0.3), 0)
    assert worse.refused_because


def test_what_makes_structure_of_noise_is_refused() -> None:
    held_out = [noisy(seed) for seed in (11, 12)]

    def inventing(stack: NDArray[np.float32]) -> NDArray[np.float32]:
        smooth = smoothing(1.0)(stack)
        return smooth if stack.shape == SHAPE else smooth + 0.3 * np.sin(np.arange(stack.shape[2]))

    verdict = judge(held_out, smoothing(0.3), smoothing(1.0), 0)
    assert verdict.refused_because == ""
    verdict = judge(held_out, smoothing(0.9), inventing, 0)
    assert "pure noise" in verdict.refused_because


def write_run(folder: Path, count: int = 4) -> None:
    for number in range(count):
        write_stack(folder / f"cell_{number}.tif", exposed(number)[0])
    (folder.parent / "config.toml").write_text(CONFIG)


def write_start(path: Path) -> Path:
    network = copying()
    card = onnx_export.make_card(network.config, "copying", licence="CC0-1.0", version="7")
    path.write_bytes(onnx_export.export_network(network, card).SerializeToString())
    return path


def test_from_a_run_to_a_model_with_card_and_envelope(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    write_run(tmp_path / "run_1")
    start = write_start(tmp_path / "copying.onnx")
    before = {path: path.read_bytes() for path in (tmp_path / "run_1").iterdir()}
    done = command(
        "adapt", tmp_path / "run_1", "--config", tmp_path / "config.toml", "--model", start,
        "--minutes", "0.03", "--learning-rate", "0.01",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "learning from 3 stacks, judged by 1 others" in done.out
    card = onnx_export.read_card(onnx.load(tmp_path / "run_1_adapted.onnx"))
    assert card.name == "copying-run_1"
    assert card.licence == "CC0-1.0"
    assert card.training["started_from"] == "copying 7"
    assert card.training["held_out"] == ["cell_3.tif"]
    assert card.envelope is not None
    assert card.envelope.snr is not None
    nearly_all = card.metrics["adaptation"][0]
    assert nearly_all["squared_error_after_e2"] < nearly_all["squared_error_before_e2"]
    assert {path: path.read_bytes() for path in (tmp_path / "run_1").iterdir()} == before


def test_what_is_no_better_is_not_written(tmp_path: Path, command: Callable[..., Any]) -> None:
    write_run(tmp_path / "run_1", 2)
    start = write_start(tmp_path / "copying.onnx")
    refused = command(
        "adapt", tmp_path / "run_1", "--config", tmp_path / "config.toml", "--model", start,
        "--minutes", "0.0001", "--learning-rate", "1e-12",
    )  # fmt: skip
    assert refused.code == 1
    assert "no model was written" in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "run_1_adapted.onnx").exists()


@pytest.mark.parametrize(
    ("stacks", "config", "told"),
    [(3, "", "live-restore camera"), (1, CONFIG, "two are needed")],
    ids=["no camera", "one stack"],
)
def test_wrong_use_is_one_line(
    tmp_path: Path, command: Callable[..., Any], stacks: int, config: str, told: str
) -> None:
    write_run(tmp_path / "run_1", stacks)
    (tmp_path / "config.toml").write_text(config)
    refused = command("adapt", tmp_path / "run_1", "--config", tmp_path / "config.toml")
    assert refused.code == 2
    assert told in refused.err
    assert refused.err.count("\n") == 1


def found_and_read(run: Path, channel: int = 0) -> RunStacks:
    """Read a run with the settings beside it."""
    settings = load_settings(run.parent / "config.toml")
    return read_run(find_stacks(run, settings.files, channel), settings, (2.0, 99.9))


def test_damaged_and_empty_stacks_are_left_out_by_name(tmp_path: Path) -> None:
    run = tmp_path / "run_1"
    write_run(run)
    empty = CAMERA.expose(np.full(SHAPE, 3.0), np.random.default_rng(0))
    write_stack(run / "empty.tif", empty)
    (run / "half.tif").write_bytes((run / "cell_0.tif").read_bytes()[:-100])
    stacks = found_and_read(run)
    damaged, noise = stacks.passed_by
    assert "half.tif" in damaged
    assert "empty.tif shows next to nothing but noise" in noise
    assert [s.label for s in stacks.learning] == ["cell_0.tif", "cell_1.tif", "cell_2.tif"]
    assert [s.label for s in stacks.held_out] == ["cell_3.tif"]


def test_a_part_with_structure_is_used_of_a_large_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live_restore_export.adaptation.run_stacks.MOST_VOXELS", 8 * 32 * 32)
    field = CAMERA.expose(np.full((8, 96, 96), 3.0), np.random.default_rng(0))
    field[:, 70:90, 70:90] += 200
    for number in range(2):
        write_stack(tmp_path / "run" / f"{number}.tif", field)
    (tmp_path / "config.toml").write_text(CONFIG)
    stacks = found_and_read(tmp_path / "run")
    assert [s.raw.shape for s in (*stacks.learning, *stacks.held_out)] == [(8, 32, 32)] * 2
    assert stacks.learning[0].raw.max() > 250


def write_two_channels(run: Path, times: int) -> list[NDArray[np.uint16]]:
    """Write an acquisition of one file per plane; return the stacks of its first channel."""
    raws = [exposed(time)[0] for time in range(times)]
    for time, raw in enumerate(raws):
        for z, plane in enumerate(raw):
            write_plane(run / generic(0, time, 0, z), plane)
            write_plane(run / generic(0, time, 1, z), plane // 2)
    return raws


def test_stacks_of_an_acquisition_folder_are_found_by_channel(tmp_path: Path) -> None:
    """Of a plane that is missing, its stack is left out; results of another channel do not mix."""
    raws = write_two_channels(tmp_path / "run", 5)
    (tmp_path / "run" / generic(0, 4, 1, 7)).unlink()
    (tmp_path / "config.toml").write_text(CONFIG)
    stacks = found_and_read(tmp_path / "run")
    assert len(stacks.learning) == 4
    assert len(stacks.held_out) == 1
    assert (stacks.held_out[0].raw == raws[3]).all()
    assert (stacks.learning[0].raw == raws[0]).all()
    other = found_and_read(tmp_path / "run", channel=1)
    assert len(other.learning) + len(other.held_out) == 4


def test_the_camera_is_that_of_the_channel(tmp_path: Path) -> None:
    write_two_channels(tmp_path / "run", 2)
    cameras = ""
    for serial, channel, gain in (("A", 0, 2.0), ("B", 1, 4.0), ("C", 2, 8.0)):
        told = CONFIG.replace("[camera]", "[[cameras]]").replace("e = 2", f"e = {gain}")
        cameras += f'{told}serial = "{serial}"\nchannels = ["{channel}"]\n'
    (tmp_path / "config.toml").write_text(cameras)
    for channel, gain in ((0, 2.0), (1, 4.0)):
        stacks = found_and_read(tmp_path / "run", channel)
        assert stacks.learning[0].camera.gain_adu_per_e == gain


def rule(model: str, *channels: str, **more: Any) -> ModelRule:
    return ModelRule(channels=channels, **({"model": model} if model else {}), **more)


@pytest.mark.parametrize(
    ("rules", "models"),
    [
        ([rule("standard", "1"), rule("fast", "*")], ["fast", "standard"]),
        ([rule("fast", "*"), rule("standard", "1")], ["fast", "fast"]),
        ([rule("", "1", steps=("standard", "sharpen")), rule("fast", "0")], ["fast", "standard"]),
        ([rule("", "1", skip=True), rule("fast", "*")], ["fast", None]),
        ([rule("fast", "0")], ["fast", None]),
    ],
    ids=["one each", "the first decides", "steps", "skip", "none"],
)
def test_it_begins_with_what_restores_the_channel(
    tmp_path: Path, rules: list[ModelRule], models: list[str | None]
) -> None:
    write_two_channels(tmp_path / "run", 2)
    files = load_settings().files
    for channel, model in enumerate(models):
        found = find_stacks(tmp_path / "run", files, channel)
        if model is None:
            with pytest.raises(UsageError, match=f"no model for channel {channel}; name one"):
                found.with_their_model(rules)
        else:
            assert found.with_their_model(rules) == (found, model)


def test_of_files_with_several_models_the_commonest_decides(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for number, name in enumerate(("DAPI", "GFP", "GFP", "bright")):
        tifffile.imwrite(
            tmp_path / "run" / f"{number}.ome.tif", exposed(number)[0][:, np.newaxis],
            metadata={"axes": "ZCYX", "Channel": {"Name": [name]}},
        )  # fmt: skip
    found = find_stacks(tmp_path / "run", load_settings().files, 0)
    rules = [rule("standard", "GFP"), rule("", "bright", skip=True), rule("fast", "*")]
    kept, model = found.with_their_model(rules)
    assert model == "standard"
    assert [each.label for each in kept.stacks] == ["1.ome.tif", "2.ome.tif"]
    assert kept.passed_by == ("2 stack(s), which the settings do not restore with standard",)


def test_a_run_has_the_settings_of_the_folder_that_it_lies_in(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    """Its camera, and the model of its channel, as the daemon restores it."""
    write_two_channels(tmp_path / "in" / "run_1", 2)
    write_start(tmp_path / "copying.onnx")
    (tmp_path / "config.toml").write_text(
        "[[watch]]\nfolder = 'in'\n" + CONFIG.replace("[camera]", "[watch.camera]")
        + "[[watch.models]]\nchannels = ['0']\n"
        + "[[watch.models]]\nmodel = 'copying.onnx'\nchannels = ['1']\n"
    )  # fmt: skip
    refused = command(
        "adapt", tmp_path / "in" / "run_1", "--config", tmp_path / "config.toml", "--channel", "1",
        "--minutes", "0.0001", "--learning-rate", "1e-12",
    )  # fmt: skip
    assert "beginning with copying" in refused.out, refused.err
    assert refused.err.endswith("use copying, or adapt for more --minutes or from more stacks\n")


def test_the_daemons_command_starts_the_workshop(tmp_path: Path) -> None:
    """It never loads torch itself, and passes on what the child says."""
    (tmp_path / "config.toml").touch()
    command = [sys.executable, "-m", "live_restore", "adapt", "run_1", "--config", "config.toml"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "live-restore camera" in done.stderr


def test_without_pytorch_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("live_restore.workshop._NEEDED", ("live_restore_export", "no_such_torch"))
    assert live_restore(["adapt", "run_1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no_such_torch is not installed" in told
    assert "export" in told
