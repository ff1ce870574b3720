"""Wrong use of the commands, card files that do not fit, models that are not ours or changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from deferred import deferred
from onnx import numpy_helper
from port_graphs import PORT_GRAPHS, Sizes

onnx_export = deferred("live_restore_export.onnx.export")
torch = deferred("torch")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["onnx", "absent.pth", "-o", "net.onnx"], "absent.pth: cannot be read"),
        (["onnx", "absent.pth", "-o", "net.pt"], "should end in .onnx"),
        (["onnx", "absent.pth", "-o", "nowhere/net.onnx"], "folder that does not exist"),
        (["onnx", "absent.pth"], "required"),
        (["verify", "absent.onnx"], "absent.onnx: cannot be read"),
        (["train", "absent.toml", "-o", "run"], "absent.toml: cannot be used"),
        (["bioimageio", "absent.onnx", "-o", "a.zip"], "absent.onnx: cannot be read"),
        (["inspect", "."], "has no weights_{epoch}_{loss}.hdf5"),
        (["convert"], "invalid choice"),
    ],
)
def test_wrong_use(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input_channels = 3", "the card says input_channels 3, but the network has 1"),
        ("percentiles = [99.0, 2.0]", "percentiles must be"),
        ("name = ", "is not a TOML file"),
    ],
)
def test_card_files_are_checked(
    text: str, message: str, tmp_path: Path, command: Callable[..., Any]
) -> None:
    torch.save(PORT_GRAPHS["gently-deabe"].state(Sizes(blocks=1, channels=4)), tmp_path / "net.pth")
    (tmp_path / "card.toml").write_text(text)
    done = command(
        "onnx", tmp_path / "net.pth", "-o", tmp_path / "net.onnx", "--card", tmp_path / "card.toml"
    )
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "net.onnx").exists()


def test_models_that_are_not_ours(tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    done = command("verify", tmp_path / "text.onnx")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is not an ONNX file" in done.err


def test_a_changed_weight_is_noticed(tmp_path: Path, command: Callable[..., Any]) -> None:
    torch.save(PORT_GRAPHS["gently-deabe"].state(Sizes(blocks=1, channels=4)), tmp_path / "net.pth")
    assert command("onnx", tmp_path / "net.pth", "-o", tmp_path / "net.onnx").code == 0
    model = onnx.load(tmp_path / "net.onnx")
    bias = next(t for t in model.graph.initializer if t.name == "body.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.1, "body.bias"))
    onnx.save(model, tmp_path / "changed.onnx")
    done = command("verify", tmp_path / "changed.onnx")
    assert done.code == 2
    assert "other weights than its card describes" in done.err
    card = next(p for p in model.metadata_props if p.key == "live_restore_card")
    facts = json.loads(card.value)
    facts["weights_sha256"] = onnx_export.weights_digest(model)
    card.value = json.dumps(facts)
    onnx.save(model, tmp_path / "changed.onnx")
    against = command("verify", tmp_path / "changed.onnx", "--against", tmp_path / "net.pth")
    assert against.code == 1


def test_without_pytorch_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from live_restore_export.cli.main import main; "
        "sys.exit(main(['kernels', 'fast']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "torch, which is not installed" in done.stderr
    assert "pip install 'live-restore[export]'" in done.stderr
