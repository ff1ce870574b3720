"""``live-restore-export train`` as a person runs it: it ends with a verified model and its card."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import psutil
import pytest
from deferred import deferred
from live_restore_export.cli.train import MODEL
from training_files import clean_stack, write_config, write_pairs, write_stack

from live_restore.inference.load import load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings

onnx_export = deferred("live_restore_export.onnx.export")
onnx_verify = deferred("live_restore_export.onnx.verify")
torch = deferred("torch")

CLI = [
    sys.executable,
    "-c",
    "import sys; from live_restore_export.cli.main import main; sys.exit(main())",
]
PAIRS: dict[str, Any] = {"source": "pairs", "raw": "raw", "gt": "gt"}


def test_on_simulated_stacks(tmp_path: Path, command: Callable[..., Any]) -> None:
    config = write_config(
        tmp_path,
        seed=5,
        network={"lateral_shuffle": 2},
        training={"percentiles": [1.0, 99.5], "steps": 2, "checkpoint_every": 2},
        card={"licence": "CC-BY-4.0", "channel_meaning": ["actin"]},
    )
    done = command("train", config, "-o", tmp_path / "quick run", "--no-limits")
    assert done.code == 0, done.err
    assert "step 2/2" in done.out
    assert "TOO LARGE" not in done.out
    card = onnx_export.read_card(onnx.load(tmp_path / "quick run" / "model.onnx"))
    assert card.name == "quick-run"
    assert card.licence == "CC-BY-4.0"
    assert card.channel_meaning == ("actin",)
    assert card.description == "Trained on simulated stacks only."
    assert card.shape_multiple_zyx == (1, 2, 2)
    assert card.trained_patch_zyx == (4, 16, 16)
    assert card.percentiles == (1.0, 99.5)
    assert card.trained_voxel_um.keys() == {"z", "xy"}
    assert card.training["seed"] == 5
    assert card.training["steps_done"] == 2
    refused = command("train", config, "-o", tmp_path / "quick run", "--no-limits")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--resume" in refused.err
    again = command("train", config, "-o", tmp_path / "quick run", "--resume", "--no-limits")
    assert again.code == 0, again.err


def test_it_ends_with_a_card_that_says_where_the_model_helps(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole measurement in small; with --no-limits, everybody who uses the model is told."""
    measure = importlib.import_module("live_restore_export.limits.measure")
    monkeypatch.setattr(measure, "FULL", measure.Extent((8, 32, 32), 1, quick=True))
    config = write_config(tmp_path, training={"steps": 2, "checkpoint_every": 2})
    done = command("train", config, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    card = onnx_export.read_card(onnx.load(tmp_path / "run" / "model.onnx"))
    assert card.envelope is not None
    assert card.envelope.limits.keys() >= {"photons", "blur"}
    assert card.unmeasured_note() == ""
    assert (tmp_path / "run" / "model_limits" / "limits.csv").exists()
    assert card.envelope.in_words()[0] in done.out


def test_on_measured_pairs_from_the_bundled_model(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    write_pairs(tmp_path)
    config = write_config(tmp_path, data=PAIRS, training={"learning_rate": 1e-4})
    text = config.read_text().split("[network]")
    config.write_text(text[0] + text[1][text[1].index("[training]") :])
    done = command("train", config, "-o", tmp_path / "run", "--init", "bundled", "--no-limits")
    assert done.code == 0, done.err
    assert "cell_1.tif <-> cell_1_long.tif" in done.out
    assert re.search(r"starting from fast: PSNR \d+.\d\d -> \d+.\d\d dB", done.out)
    card = onnx_export.read_card(onnx.load(tmp_path / "run" / "model.onnx"))
    assert card.architecture["channels"] == 24
    assert card.training["started_from"] == "fast"
    assert card.training["data"]["raw"] == "raw", "as the person wrote it, not where it lay"
    assert card.description == "Trained on measured pairs of stacks (2)."
    # What a network does after a few careful steps is still a restoration.
    model = Restorer(load_model(tmp_path / "run" / "model.onnx", "cpu"), InferenceSettings())
    assert model.restore(clean_stack(9)).volume.shape == (6, 24, 24)


def test_on_clean_stacks(tmp_path: Path, command: Callable[..., Any]) -> None:
    for index in range(3):
        write_stack(tmp_path / "clean" / f"{index}.tif", clean_stack(index))
    config = write_config(tmp_path, data={"source": "clean", "clean": "clean"})
    done = command("train", config, "-o", tmp_path / "run", "--no-limits")
    assert done.code == 0, done.err
    card = onnx_export.read_card(onnx.load(tmp_path / "run" / "model.onnx"))
    assert card.description == "Trained on clean stacks (2) with simulated camera noise."
    assert card.trained_voxel_um == {}, "the files do not tell"


def test_a_failed_verification_is_exit_code_1_and_no_model(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from live_restore_export.cli import conversion

    wrong = [onnx_verify.Comparison("noise", (1, 1, 4, 16, 16), 0.5, 0.1, 1e-4)]
    monkeypatch.setattr(conversion, "compare_with_network", lambda *_: wrong)
    done = command("train", write_config(tmp_path), "-o", tmp_path / "run")
    assert done.code == 1
    assert "does not compute what the checkpoint computes" in done.err
    assert not (tmp_path / "run" / MODEL).exists()
    assert (tmp_path / "run" / "final.pt").exists()


def test_a_wrong_configuration_is_one_line(tmp_path: Path, command: Callable[..., Any]) -> None:
    for text, message in [
        ("[training]\nstep = 3\n", "training.step"),
        ("[trainig]\nsteps = 3\n", "trainig"),
        ("[training]\nbfloat16 = true\n", "training.bfloat16"),
        ("[network]\nlayers = 3\n", "layers"),
        ("seed = \n", "cannot be used"),
        ("seed = 1_000_000_000\n", "seed"),
        ("[training]\npatch_zyx = [99, 16, 16]\n", "is larger than simulation.shape_zyx"),
        ("[training]\npatch_zyx = [4, 16, 24]\n", "must be square"),
        ("[training]\npatch_zyx = [4, 8, 8]\n", "at least 11"),
        ("[training]\npatch_zyx = [4, 0, 0]\n", "training.patch_zyx.1"),
        ("[training]\nwarmup_steps = 0\n", "warmup_steps"),
        ("[training]\npercentiles = [99.0, 2.0]\n", "percentiles must be"),
        ("[network]\nin_channels = 2\n", "one image channel"),
        ("[network]\nlateral_shuffle = 3\n", "multiple of 3"),
        ("[card]\nlicense = 'BSD'\n", "did you mean licence?"),
        ("[card]\nprecision = 'fp16'\n", "precision is measured"),
        ("[card]\ninput_channels = 2\n", "the network has 1"),
    ]:
        config = tmp_path / "wrong.toml"
        config.write_text(text)
        done = command("train", config, "-o", tmp_path / "run")
        assert (done.code, done.err.count("\n")) == (2, 1), (text, done.err)
        assert message in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_go_on_says_so(tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"half a file")
    done = command("train", write_config(tmp_path), "-o", tmp_path / "run", "--resume")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "cannot go on from it" in done.err


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_killed_and_resumed_it_ends_with_the_weights_of_an_uninterrupted_run(
    tmp_path: Path, command: Callable[..., Any], spawning: None
) -> None:
    config = write_config(
        tmp_path,
        training={
            "steps": 80,
            "checkpoint_every": 10,
            "scene_refresh_steps": 12,
            "processes": 1,
        },
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    train = [*CLI, "train", str(config), "--no-limits", "-o"]
    assert command("train", config, "-o", tmp_path / "whole", "--no-limits").code == 0
    killed = subprocess.Popen([*train, str(tmp_path / "killed")], env=environment)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / "last.pt").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        children = psutil.Process(killed.pid).children(recursive=True)
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        assert not (tmp_path / "killed" / "final.pt").exists(), "it was killed on its way"
        _, left = psutil.wait_procs(children, timeout=10)
        assert not left, "no process outlives a run that was killed"
        done = subprocess.run(
            [*train, str(tmp_path / "killed"), "--resume"],
            env=environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "going on from step" in done.stdout
    finally:
        killed.kill()
        killed.wait()
    states = [
        torch.load(tmp_path / name / "final.pt", weights_only=True)["state_dict"]
        for name in ("whole", "killed")
    ]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
