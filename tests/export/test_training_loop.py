"""The loop: it learns, it goes on exactly where it was, and it says when it cannot."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from deferred import deferred
from live_restore_export.cli.progress import LiveDisplay, PlainDisplay, display
from live_restore_export.training.data import validation_patches
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.progress import Record
from PIL import Image
from rich.console import Console
from training_files import tiny, write_pairs

from live_restore.errors import DeviceError, TrainingError, UsageError

if TYPE_CHECKING:
    from live_restore_export.simulator.simulate import Scene, SimulationConfig
    from live_restore_export.training.config import TrainConfig

loop = deferred("live_restore_export.training.loop")
optimisation = deferred("live_restore_export.training.optimisation")
run_state = deferred("live_restore_export.training.run_state")
simulate = deferred("live_restore_export.simulator.simulate")
torch = deferred("torch")
training_config = deferred("live_restore_export.training.config")
validation = deferred("live_restore_export.training.validation")

CONFIGS = [
    path
    for path in sorted(
        (Path(__file__).parents[2] / "export" / "live_restore_export" / "configs").glob("*.toml")
    )
    if not path.name.endswith(".card.toml")
]


@functools.cache
def scene_of(config: SimulationConfig, seed: int) -> Scene:
    """Return what the simulator draws, which is the same for a seed; nobody may change it."""
    scene = simulate.simulate_scene(config, seed)
    scene.signal.flags.writeable = scene.truth.flags.writeable = False
    return scene


@pytest.fixture(autouse=True)
def scenes_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time of these tests would be the drawing of the same three scenes."""
    monkeypatch.setattr("live_restore_export.training.sources.simulate_scene", scene_of)


def run(config: TrainConfig, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train quietly; return the final checkpoint."""
    final = loop.train(
        config,
        config.gather(folder.parent),
        config.architecture(),
        folder,
        PlainDisplay(Console(quiet=True)),
        resume=resume,
    )
    return dict(torch.load(final, weights_only=True))


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same_weights(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name


class Stopped(Exception):  # noqa: N818 - not an error of ours: the hand that pulls the plug
    """Raised in the middle of a run."""


def _stop_before(at_step: int) -> Callable[..., None]:
    def stop(average: torch.nn.Module, model: torch.nn.Module, step: int, decay: float) -> None:
        if step == at_step:
            raise Stopped
        optimisation.follow(average, model, step, decay)

    return stop


def stopped_run(
    config: TrainConfig,
    folder: Path,
    at_step: int,
    monkeypatch: pytest.MonkeyPatch,
    *,
    resume: bool = False,
) -> None:
    """Train, or go on, and stop before ``at_step`` is taken."""
    with monkeypatch.context() as patch:
        patch.setattr("live_restore_export.training.loop.follow", _stop_before(at_step))
        with pytest.raises(Stopped):
            run(config, folder, resume=resume)


def test_it_learns(tmp_path: Path) -> None:
    options = {"steps": 80, "checkpoint_every": 10, "validation_patches": 3}
    state = run(tiny(tmp_path, training=options), tmp_path / "run")
    losses = [line["loss"] for line in log_of(tmp_path / "run")]
    assert np.mean(losses[-3:]) < 0.7 * losses[0]
    assert state["format"] == "live-restore-rcan"
    assert state["training"]["steps_done"] == 80
    assert f"torch {torch.__version__}" in state["training"]["hardware"]
    assert state["training"]["date"][:2] == "20"
    assert state["training"]["training"]["patch_zyx"] == [4, 16, 16]


@pytest.mark.parametrize(
    ("source", "precision"),
    [
        ("simulation", "float32"),
        # What is simulated is the same in any precision.
        pytest.param("simulation", "bfloat16", marks=pytest.mark.slow),
        pytest.param("simulation", "float16", marks=pytest.mark.slow),
        ("pairs", "float32"),
        ("pairs", "bfloat16"),
        ("pairs", "float16"),
    ],
)
def test_a_stopped_run_ends_with_the_weights_of_one_that_was_not(
    source: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pairs(tmp_path, count=4)
    folders = {"raw": "raw", "gt": "gt"} if source == "pairs" else {}
    options = {"steps": 10, "scene_refresh_steps": 2, "precision": precision, "batch": 2}
    config = tiny(tmp_path, data={"source": source, **folders}, training=options)
    whole = run(config, tmp_path / "whole")
    stopped_run(config, tmp_path / "stopped", 7, monkeypatch)
    assert not (tmp_path / "stopped" / "final.pt").exists()
    assert_same_weights(whole, run(config, tmp_path / "stopped", resume=True))
    logs = [log_of(tmp_path / name) for name in ("whole", "stopped")]
    for line, same in zip(*logs, strict=True):
        assert line.items() - {("minutes", line["minutes"])} == same.items() - {
            ("minutes", same["minutes"])
        }


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").touch()
    assert_same_weights(run(config, tmp_path / "whole"), run(config, tmp_path / "run", resume=True))


def test_a_folder_with_a_run_is_refused(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    run(config, tmp_path / "run")
    for name in ("last.pt", "log.jsonl", "final.pt"):
        with pytest.raises(UsageError, match="holds a run already"):
            run(config, tmp_path / "run")
        (tmp_path / "run" / name).unlink()
    run(config, tmp_path / "run")


def test_going_on_with_another_configuration_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_run(tiny(tmp_path), tmp_path / "run", 6, monkeypatch)
    with pytest.raises(UsageError, match=r"training.learning_rate was 0.01 and is 0.02"):
        run(tiny(tmp_path, training={"learning_rate": 0.02}), tmp_path / "run", resume=True)
    run(tiny(tmp_path, training={"checkpoint_every": 2}), tmp_path / "run", resume=True)
    assert [line["step"] for line in log_of(tmp_path / "run")] == [4, 6, 8]


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(tmp_path, training={"steps": 12})

    def diverge(
        restored: torch.Tensor, noisy: torch.Tensor, truth: torch.Tensor, options: TrainingOptions
    ) -> torch.Tensor:
        diverge.step += 1  # type: ignore[attr-defined]
        loss = optimisation.loss_of(restored, noisy, truth, options)
        return loss * math.nan if diverge.step == 6 else loss  # type: ignore[attr-defined]

    diverge.step = 0  # type: ignore[attr-defined]
    monkeypatch.setattr("live_restore_export.training.loop.loss_of", diverge)
    with pytest.raises(TrainingError, match="the loss of step 6 is nan: the weights"):
        run(config, tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert saved["step"] == 4
    assert all(torch.isfinite(value).all() for value in saved["average"].values())


@pytest.mark.parametrize("overflows", [{6}, {12}, set(range(3, 12))])
def test_float16_may_overflow_now_and_then_but_not_for_good(
    overflows: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"steps": 12, "precision": "float16", "checkpoint_every": 4}
    step = 0

    def overflow(
        restored: torch.Tensor, noisy: torch.Tensor, truth: torch.Tensor, options: TrainingOptions
    ) -> torch.Tensor:
        nonlocal step
        step += 1
        return optimisation.loss_of(restored, noisy, truth, options) * (
            math.inf if step in overflows else 1
        )

    monkeypatch.setattr("live_restore_export.training.loop.loss_of", overflow)
    if len(overflows) > 1:
        with pytest.raises(TrainingError, match="the loss of step 11 is inf"):
            run(tiny(tmp_path, training=options), tmp_path / "run")
        return
    state = run(tiny(tmp_path, training=options), tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    assert all(math.isfinite(line["loss"]) for line in log_of(tmp_path / "run"))


def test_patience_ends_a_run_and_keeps_what_did_best(tmp_path: Path) -> None:
    options = {"steps": 400, "checkpoint_every": 2, "patience": 2, "learning_rate": 0.5}
    state = run(tiny(tmp_path, training=options), tmp_path / "run")
    values = [line["restored_db"] for line in log_of(tmp_path / "run")]
    best = values.index(max(values))
    assert len(values) == best + 3 < 200
    assert state["training"]["steps_done"] == 2 * len(values)
    assert state["training"]["restored_db"] == pytest.approx(max(values), abs=1e-4)
    # It has ended: going on takes no step more.
    run(tiny(tmp_path, training=options), tmp_path / "run", resume=True)
    assert len(log_of(tmp_path / "run")) == len(values)


def test_time_shortens_the_schedule(tmp_path: Path) -> None:
    options = {"steps": 100_000, "max_minutes": 0.01, "checkpoint_every": 100_000}
    state = run(tiny(tmp_path, training=options), tmp_path / "run")
    assert 50 <= state["training"]["steps_done"] < 100_000
    assert state["training"]["minutes"] <= 0.1


def test_a_schedule_may_grow_again_when_there_is_time_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"steps": 70, "max_minutes": 60, "checkpoint_every": 30}
    config = tiny(tmp_path, training=options)
    stopped_run(config, tmp_path / "run", 40, monkeypatch)
    saved = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    torch.save({**saved, "total": 55}, tmp_path / "run" / "last.pt")
    state = run(config, tmp_path / "run", resume=True)
    assert state["training"]["steps_done"] == 70
    assert [line["step"] for line in log_of(tmp_path / "run")] == [30, 60, 70]


def test_over_many_starts_it_is_one_run_with_one_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped three times, it takes the very steps of a run that never was; time adds up."""
    config = tiny(tmp_path, training={"steps": 24, "checkpoint_every": 4})
    whole = run(config, tmp_path / "whole")
    minutes = [0.0]
    for at_step in (7, 14, 21):
        stopped_run(config, tmp_path / "run", at_step, monkeypatch, resume=at_step > 7)
        minutes.append(torch.load(tmp_path / "run" / "last.pt", weights_only=True)["seconds"])
    assert_same_weights(whole, run(config, tmp_path / "run", resume=True))
    assert minutes == sorted(minutes)
    assert minutes[-1] > minutes[1] > 0
    rates = [line["learning_rate"] for line in log_of(tmp_path / "run")]
    assert rates == [line["learning_rate"] for line in log_of(tmp_path / "whole")]


def test_whoever_goes_on_may_give_it_other_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"steps": 100_000, "max_minutes": 60, "checkpoint_every": 50}
    stopped_run(tiny(tmp_path, training=options), tmp_path / "run", 60, monkeypatch)
    less = tiny(tmp_path, training={**options, "max_minutes": 0.001})
    state = run(less, tmp_path / "run", resume=True)
    assert state["training"]["steps_done"] == 50, "its time was over before it went on"


@pytest.mark.parametrize(
    "options",
    [
        {"optimiser": "adamw", "weight_decay": 0.5},
        {"loss": "charbonnier"},
        {"shallow_share": 1.0},
        {"gradient_clip": 1e-4},
        {"foreground_share": 1.0},
        {"scale_jitter": 0.5},
    ],
)
def test_every_option_changes_what_is_learnt(options: dict[str, Any], tmp_path: Path) -> None:
    plain = run(tiny(tmp_path), tmp_path / "plain")
    other = run(tiny(tmp_path, training=options), tmp_path / "other")
    assert any(
        not torch.equal(value, other["state_dict"][name])
        for name, value in plain["state_dict"].items()
    )


def test_gradients_that_bfloat16_spoils_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As libraries do for some shapes: the loss is right, and every gradient is NaN."""

    def spoiling(restored: torch.Tensor, *rest: Any) -> torch.Tensor:
        loss = optimisation.loss_of(restored, *rest)
        if restored.dtype == torch.bfloat16:
            loss = loss + torch.sqrt(0 * restored.float().sum())
        return loss

    spoiled = tiny(tmp_path, training={"steps": 5, "precision": "bfloat16"})
    trusted = tiny(tmp_path, training={"steps": 5, "precision": "float32"})
    with monkeypatch.context() as patch:
        patch.setattr("live_restore_export.training.loop.loss_of", spoiling)
        ours = run(spoiled, tmp_path / "spoiled")
    assert_same_weights(ours, run(trusted, tmp_path / "trusted"))


def test_the_last_steps_may_be_exact_where_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(**options: Any) -> TrainConfig:
        return tiny(tmp_path, training={"steps": 10, **options})

    exact = run(config(), tmp_path / "exact")
    reduced = {"precision": "bfloat16"}
    assert_same_weights(run(config(**reduced, float32_share=1.0), tmp_path / "all"), exact)
    half = run(config(**reduced, float32_share=0.5), tmp_path / "half")
    for other in (exact, run(config(**reduced), tmp_path / "none")):
        with pytest.raises(AssertionError):
            assert_same_weights(half, other)
    stopped_run(config(**reduced, float32_share=0.5), tmp_path / "stopped", 7, monkeypatch)
    resumed = run(config(**reduced, float32_share=0.5), tmp_path / "stopped", resume=True)
    assert_same_weights(resumed, half)


def test_empty_stacks_are_trained_on_and_no_run_is_judged_by_them(tmp_path: Path) -> None:
    config = tiny(tmp_path, training={"steps": 2}, simulation={"empty_share": 1.0})
    data = config.gather(tmp_path)
    trained = data.training.load(0).cut(config.training, 1.0, np.random.default_rng(0))
    assert trained.truth.min() == trained.truth.max()
    (judged,) = validation_patches(data.validation, config.training)
    assert judged.truth.min() < judged.truth.max()
    run(config, tmp_path / "run")


def test_a_device_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA device"):
        run(tiny(tmp_path, training={"device": "cuda"}), tmp_path / "run")


def test_every_validation_leaves_a_picture(tmp_path: Path) -> None:
    run(tiny(tmp_path, training={"validation_patches": 2}), tmp_path / "run")
    pictures = sorted((tmp_path / "run" / "examples").iterdir())
    assert [path.name for path in pictures] == ["step_0000004.png", "step_0000008.png"]
    with Image.open(pictures[0]) as picture:
        pixels = np.asarray(picture)
    # Three columns and two rows of patches that are not flat.
    assert pixels.shape == (22 + 2 * 198, 3 * 198 + 6)
    for row in range(2):
        for column in range(3):
            top, left = 22 + row * 198, 6 + column * 198
            assert pixels[top : top + 192, left : left + 192].std() > 5


def test_similarity_is_1_for_the_truth_and_less_for_noise(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    data = config.gather(tmp_path)
    patch = data.validation.load(0).cut(config.training, 1.0, np.random.default_rng(0))
    assert validation.ssim(patch.truth, patch.truth) == pytest.approx(1)
    assert validation.ssim(patch.noisy, patch.truth) < 0.99
    decibels, similarity = validation.score([patch.noisy], [patch])
    assert 0 < similarity < 1
    assert 0 < decibels < 60


RECORD = Record(50, 200, 1.0, 0.0123, 1e-3, 20.0, 25.5, 0.5, 0.75)


def test_plain_lines_where_there_is_no_terminal() -> None:
    console = Console(force_terminal=False, width=40)
    with console.capture() as captured, display(console) as shown:
        shown.report("raw [red].tif")
        shown.step(50, 200)
        shown.validated(RECORD)
    name, line = captured.get().splitlines()
    assert name == "raw [red].tif"
    assert line == (
        "step 50/200  loss 0.0123  PSNR 20.00 -> 25.50 dB  SSIM 0.500 -> 0.750  "
        "1.0 min, 3.0 min left"
    )


def test_a_bar_at_a_terminal() -> None:
    console = Console(force_terminal=True, width=200)
    with console.capture() as captured, display(console) as shown:
        assert isinstance(shown, LiveDisplay)
        shown.step(50, 200)
        shown.validated(RECORD)
    assert "50/200" in captured.get()
    assert "25.50 dB" in captured.get()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_committed_configurations_are_valid(path: Path) -> None:
    assert training_config.TrainConfig.load(path).architecture().in_channels == 1


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    run(config, tmp_path / "run")
    (tmp_path / "run" / "last.pt").write_bytes(b"half a file")
    with pytest.raises(UsageError, match=r"last.pt: is damaged"):
        run_state.RunState.read(tmp_path / "run" / "last.pt", config, torch.device("cpu"))
