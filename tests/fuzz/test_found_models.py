"""What was found of models and packages; see ``test_found.py``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from live_restore.errors import (
    ModelError,
)
from live_restore.inference.device.tile_size import largest_tile_voxels
from live_restore.inference.load import load_model
from live_restore.inference.model.plain_yaml import plain_yaml
from live_restore.inference.model.zoo_package import read_package
from live_restore.testing.bounds import bounded
from tests.fuzz.seeds import CARD, RDF
from tests.support import protobuf


def model(tmp_path: Path, card: Any, content: bytes | None = None) -> Path:
    """Write a model with a card."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(content or protobuf.doubling(card))
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"shape_multiple_zyx": [1000, 1000, 1000]},
        {"shape_multiple_zyx": [1, 127, 127]},
        {"overlap_zyx": [10**9, 0, 0]},
        {"input_channels": 10**9, "output_channels": 10**9},
        {"trained_voxel_um": {"z": [float("nan"), 1]}},
        {"trained_patch_zyx": [0, 1, 1]},
    ],
    ids=str,
)
def test_a_card_that_asks_for_terabytes(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="damaged card"):
        load_model(model(tmp_path, {**CARD, **change}), "cpu")


@pytest.mark.parametrize("channels", ["x", None, -1, 0, 10**400, [1]])
def test_an_architecture_of_another_program(tmp_path: Path, channels: object) -> None:
    """``int("x")``, and a division by no ``lateral_shuffle`` at all."""
    said = {"channels": channels, "lateral_shuffle": 0}
    loaded = load_model(model(tmp_path, {**CARD, "architecture": said}), "cpu")
    assert largest_tile_voxels(loaded.card, loaded.session.device) > 0


@pytest.mark.parametrize("place", ["card", "name"])
def test_a_model_whose_words_are_no_text(tmp_path: Path, place: str) -> None:
    """``UnicodeDecodeError``, from three places of the runtime's Python layer."""
    content = protobuf.doubling(b"\xff{}") if place == "card" else protobuf.doubling(CARD)
    if place == "name":
        content = content.replace(b"in", b"\xff\xfe")
    with pytest.raises(ModelError):
        load_model(model(tmp_path, None, content), "cpu")


def package(
    path: Path, rdf: bytes, packing: int = zipfile.ZIP_DEFLATED, weights: bytes = b"x"
) -> Path:
    """Write a zoo package."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("rdf.yaml", rdf)
        archive.writestr("tiny.onnx", weights)
    return path


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_package_packed_so_that_its_size_is_no_limit(tmp_path: Path, packing: int) -> None:
    """The standard library unpacks these whole, whatever size is declared; and ``LZMAError``."""
    path = package(tmp_path / "a.zip", RDF.encode(), packing, bytes(10**7))
    with bounded(), pytest.raises(ModelError, match="another way than deflate"):
        read_package(path)


def test_a_package_that_claims_half_a_gigabyte(tmp_path: Path) -> None:
    path = package(tmp_path / "a.zip", RDF.encode(), weights=bytes(50_000_000))
    with bounded(), pytest.raises(ModelError, match="claims 50000000 bytes"):
        read_package(path)


@pytest.mark.parametrize("field", [20, 24], ids=["stored", "unpacked"])
def test_a_package_whose_directory_claims_gigabytes(tmp_path: Path, field: int) -> None:
    """The standard library allocates what a zip's directory says is stored: 4 GB of 1 kB."""
    path = package(tmp_path / "a.zip", RDF.encode())
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + field
    data[at : at + 4] = (400_000_000).to_bytes(4, "little")
    path.write_bytes(data)
    with bounded(), pytest.raises(ModelError):
        read_package(path)


def merged(key: bytes) -> bytes:
    """Return YAML whose mappings hold nine copies of the one before, each."""
    lines = [b"a: &b0 {x: 1}\n"]
    for n in range(1, 12):
        copies = b", ".join([b"*b%d" % (n - 1)] * 9)
        lines.append(b"b%d: &b%d {%s: [%s]}\n" % (n, n, key, copies))
    return b"".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (merged(b"<<"), ""),
        (merged(b"!!merge x"), "could not determine a constructor"),
        (b"a: " + b"1:" * 20_000 + b"1", ""),
        (b"[" * 20_000, "nests deeper"),
        (b"[1, " * 1_000, "nests deeper"),
        (b"a: !!python/object/apply:os.system [touch x]", "could not determine a constructor"),
        (b"a: " + b"9" * 5000, ""),
    ],
    ids=["merge", "merge by its tag", "base 60", "depth", "depth of pairs", "python", "digits"],
)  # fmt: skip
def test_yaml_that_takes_for_ever(text: bytes, said: str) -> None:
    """Nine copies of nine copies; a number in base 60 of 60,000 places; the square of the depth."""
    with bounded():
        if said:
            with pytest.raises(ValueError, match=said):
                plain_yaml(text)
        else:
            plain_yaml(text)
