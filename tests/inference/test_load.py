"""Models: the bundled one, and every file that is none."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from live_restore.errors import ModelError
from live_restore.inference.load import bundled_models, find_model, load_model
from tests.support.models import CARD, write_model


def refusal(path: Path) -> str:
    """Return the one line with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        load_model(path, "cpu", 1)
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 600
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.remedy
    return str(caught.value)


def test_the_bundled_model_is_found_and_described() -> None:
    path = find_model("fast")
    assert path == bundled_models()["fast"]
    model = load_model(path, "cpu", 1)
    assert model.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.card.name == "fast"
    assert model.session.device.name == "cpu"


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.touch()
    assert find_model(str(path)) == path


@pytest.mark.parametrize("name", ["fsat", "", "/absent/x.onnx", "/tmp"])
def test_an_unknown_name_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ModelError, match="bundled are: fast"):
        find_model(name)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 1000, b"<html>404</html>", b"II*\0" + b"\0" * 100, bytes(range(256)) * 20],
    ids=["empty", "zeros", "html", "tiff", "bytes"],
)
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert "is not a model that ONNX Runtime can load" in refusal(path)


def test_a_zip_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.bin", b"x" * 1000)
    refusal(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model(tmp_path: Path, part: float) -> None:
    whole = bundled_models()["fast"].read_bytes()
    path = tmp_path / "x.onnx"
    path.write_bytes(whole[: int(len(whole) * part)])
    refusal(path)


def test_a_folder_an_absent_file_and_a_huge_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot be read" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "absent.onnx")
    monkeypatch.setattr("live_restore.inference.load._MAX_MODEL_BYTES", 10)
    path = tmp_path / "x.onnx"
    path.write_bytes(b"x" * 11)
    assert "is larger than any 3D RCAN" in refusal(path)


def test_a_tiny_model_of_ones_own(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "x.onnx"), "cpu", 1)
    assert model.card.shape_multiple_zyx == (1, 2, 2)


def test_no_card(tmp_path: Path) -> None:
    assert "has no live-restore card" in refusal(write_model(tmp_path / "x.onnx", card=None))


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("{", "Expecting property name"),
        ("[]", "no object"),
        ("[" * 100_000, "nests deeper"),
        ({"name": ""}, "name: "),
        ({"name": "../x"}, "name: "),
        ({**CARD, "format": "live-restore-card/2"}, "format: "),
        ({**CARD, "percentiles": [99, 1]}, "percentiles must be"),
        (
            {**CARD, "shape_multiple_zyx": [0, 1, 1]},
            "shape_multiple_zyx.0: Input should be",
        ),
        ({**CARD, "axes": "NCYX"}, "axes: "),
        ({**CARD, "precision": "fp8"}, "precision: "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_damaged_card(tmp_path: Path, card: Any, said: str) -> None:
    line = refusal(write_model(tmp_path / "x.onnx", card=card))
    assert "has a damaged card" in line
    assert said in line


def test_a_newer_card_of_the_same_format_is_read(tmp_path: Path) -> None:
    card = {**CARD, "invented_later": {"x": 1}}
    assert load_model(write_model(tmp_path / "x.onnx", card=card), "cpu", 1).card.name == "tiny"


def test_a_model_of_several_channels(tmp_path: Path) -> None:
    card = {**CARD, "input_channels": 2}
    assert "maps 2 channels to 1" in refusal(write_model(tmp_path / "x.onnx", card=card))


@pytest.mark.parametrize(
    "signature",
    [
        {"shape": ("n", 1, "y", "x")},
        {"kind": "DOUBLE"},
        {"inputs": 2, "operator": "Add"},
    ],
    ids=["4-D", "double", "two inputs"],
)
def test_a_wrong_signature(tmp_path: Path, signature: dict[str, Any]) -> None:
    path = write_model(tmp_path / "x.onnx", **signature)
    assert "not one (N, C, Z, Y, X) float tensor in and out" in refusal(path)
