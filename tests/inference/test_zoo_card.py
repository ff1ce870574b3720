"""Packages from strangers: what is wrong is said in one line, and nothing hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from live_restore.errors import ModelError
from live_restore.inference.model.zoo_package import is_package, read_package

GOOD = """
type: model
weights: {onnx: {source: m.onnx}}
inputs: [{axes: bczyx, shape: {min: [1,1,1,1,1], step: [0,0,1,1,1]}, preprocessing: [{name: scale_range}]}]
outputs: [{axes: bczyx, shape: [1,1,1,1,1]}]
"""  # noqa: E501


def bomb() -> str:
    """A kilobyte that unfolds to 10^12 words."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 12)]
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("key", ["name", "description", "version", "license"])
def test_nested_aliases_are_refused_before_they_unfold(tmp_path: Path, key: str) -> None:
    (tmp_path / "rdf.yaml").write_text(bomb() + GOOD + f"{key}: *a11\n")
    (tmp_path / "m.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match="unfolds"):
        read_package(tmp_path)


def test_a_damaged_zip_is_said_to_be_damaged(tmp_path: Path) -> None:
    package = tmp_path / "bad.zip"
    package.write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    assert is_package(package)
    with pytest.raises(ModelError, match="damaged"):
        read_package(package)
