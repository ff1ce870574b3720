"""BioImage Model Zoo packages: ours are valid, those of others are read or refused by name."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import yaml
from deferred import deferred

from live_restore.errors import ModelError, UsageError
from live_restore.inference.model.zoo_package import is_package, read_package

if TYPE_CHECKING:
    from live_restore_export.network import RCAN

onnx_export = deferred("live_restore_export.onnx.export")
onnx_verify = deferred("live_restore_export.onnx.verify")
zoo_package = deferred("live_restore_export.onnx.zoo_package")


@pytest.fixture
def model(make_network: Callable[..., RCAN]) -> onnx.ModelProto:
    network = make_network(lateral_shuffle=2, in_channels=2, out_channels=2)
    card = onnx_export.make_card(
        network.config, "actin.v2", licence="CC-BY-4.0", channel_meaning=("actin", "nuclei")
    )
    return onnx_export.export_network(network, card)


@pytest.fixture
def packed(model: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "package.zip"
    path.write_bytes(zoo_package.package(model, authors=["A. Person"]))
    return path


def description_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return dict(yaml.safe_load(archive.read("bioimageio.yaml")))


def repack(source: Path, target: Path, **changes: Any) -> Path:
    """Copy a package with changed description (``description=``) or files (name: bytes)."""
    description = changes.pop("description", None)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "bioimageio.yaml" and description is not None:
                data = yaml.safe_dump(description).encode()
            data = changes.pop(name, data)
            if data is not None:
                new.writestr(name, data)
    return target


# The validator leaves the zip open for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_zoo_accepts_it(packed: Path) -> None:
    spec = pytest.importorskip(
        "bioimageio.spec", reason="needs the extra: pip install 'live-restore[bioimageio]'"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the validator's own dependencies deprecate things
        found = spec.load_description(packed)
    summary = found.validation_summary
    assert summary.status in ("valid-format", "passed"), summary.format()


def test_its_test_tensors_are_right(packed: Path, model: onnx.ModelProto) -> None:
    with zipfile.ZipFile(packed) as archive:
        arrays = {}
        for name in ("test_input.npy", "test_output.npy"):
            with archive.open(name) as file:
                arrays[name] = np.load(file)
    image = arrays["test_input.npy"]
    low, high = np.percentile(image, (2, 99.9))
    scaled = ((image - low) / (high - low + 1e-6)).astype("f4")
    got = onnx_verify.run_session(onnx_verify.cpu_session(model), scaled)
    assert np.abs(got - arrays["test_output.npy"]).max() < 1e-4


def test_it_is_read_back(packed: Path, model: onnx.ModelProto) -> None:
    assert is_package(packed)
    data, card = read_package(packed)
    assert data == model.SerializeToString()
    assert card == onnx_export.read_card(model)


def test_a_folder_is_a_package_too(packed: Path, tmp_path: Path, model: onnx.ModelProto) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    assert is_package(folder)
    assert read_package(folder)[0] == model.SerializeToString()


def test_equal_models_give_equal_packages(model: onnx.ModelProto) -> None:
    assert zoo_package.package(model, authors=["A"]) == zoo_package.package(model, authors=["A"])


def test_a_package_of_others_gets_a_card_from_its_description(packed: Path, tmp_path: Path) -> None:
    description = description_of(packed)
    del description["config"]
    description["inputs"][0]["preprocessing"][0]["kwargs"]["min_percentile"] = 1.0
    _, card = read_package(repack(packed, tmp_path / "other.zip", description=description))
    assert card.name == "actin_v2-3D-RCAN"
    assert card.percentiles == (1.0, 99.9)
    assert card.shape_multiple_zyx == (1, 2, 2)
    assert (card.input_channels, card.output_channels) == (2, 2)
    assert card.licence == "CC-BY-4.0"


def test_format_0_4(packed: Path, tmp_path: Path) -> None:
    description = {
        "type": "model",
        "format_version": "0.4.9",
        "name": "old model",
        "inputs": [
            {
                "name": "raw",
                "axes": "bczyx",
                "shape": {"min": [1, 1, 8, 32, 32], "step": [0, 0, 1, 4, 4]},
                "preprocessing": [
                    {
                        "name": "scale_range",
                        "kwargs": {
                            "mode": "per_sample",
                            "axes": "czyx",
                            "min_percentile": 2,
                            "max_percentile": 99.9,
                        },
                    }
                ],
            }
        ],
        "outputs": [
            {"name": "out", "axes": "bczyx", "shape": {"reference_tensor": "raw"}},
        ],
        "weights": {"onnx": {"source": "model.onnx"}},
    }
    _, card = read_package(repack(packed, tmp_path / "old.zip", description=description))
    assert card.shape_multiple_zyx == (1, 4, 4)
    assert card.percentiles == (2, 99.9)


def _change(path: list[Any], value: Any) -> Callable[[dict[str, Any]], None]:
    def change(description: dict[str, Any]) -> None:
        description.pop("config", None)
        place: Any = description
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


REFUSALS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "other weights only": (
        _change(["weights"], {"pytorch_state_dict": {"source": "a.pt"}}),
        "has no ONNX weights (it has pytorch_state_dict)",
    ),
    "weights on the internet": (
        _change(["weights", "onnx", "source"], "https://example.org/model.onnx"),
        "download the whole package",
    ),
    "weights above the package": (
        _change(["weights", "onnx", "source"], "../../etc/passwd"),
        "outside the package",
    ),
    "absolute weights": (_change(["weights", "onnx", "source"], "/etc/passwd"), "outside"),
    "windows path": (_change(["weights", "onnx", "source"], "C:\\model.onnx"), "outside"),
    "absent weights": (_change(["weights", "onnx", "source"], "no.onnx"), "holds no no.onnx"),
    "external data": (
        _change(["weights", "onnx", "external_data"], {"source": "w.data"}),
        "second file",
    ),
    "wrong checksum": (_change(["weights", "onnx", "sha256"], "0" * 64), "damaged weights"),
    "other scale": (
        _change(["inputs", 0, "preprocessing"], [{"id": "zero_mean_unit_variance"}]),
        "'zero_mean_unit_variance', which live-restore does not do",
    ),
    "no scale": (_change(["inputs", 0, "preprocessing"], []), "expects raw intensities"),
    "scale per plane": (
        _change(["inputs", 0, "preprocessing", 0, "kwargs", "axes"], ["y", "x"]),
        "each channel or plane by itself",
    ),
    "postprocessing": (_change(["outputs", 0, "postprocessing"], [{"id": "sigmoid"}]), "postproc"),
    "two inputs": (_change(["inputs"], [{}, {}]), "has 2 inputs"),
    "2-D": (_change(["inputs", 0, "axes"], "bcyx"), "has the axes batch channel y x"),
    "fixed size": (_change(["inputs", 0, "axes", 3, "size"], 64), "only one size along y"),
    "not a model": (_change(["type"], "dataset"), "does not describe a model"),
    "nonsense": (_change(["inputs"], 3), "cannot be understood"),
    "percentiles": (
        _change(["inputs", 0, "preprocessing", 0, "kwargs", "min_percentile"], 100.0),
        "values that no card can hold",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_daemon_cannot_do_is_refused_by_name(
    case: str, packed: Path, tmp_path: Path
) -> None:
    change, message = REFUSALS[case]
    description = description_of(packed)
    change(description)
    path = repack(packed, tmp_path / "changed.zip", description=description)
    with pytest.raises(ModelError) as refusal:
        read_package(path)
    assert message in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"!!python/object/apply:os.system ['true']", "is not YAML"),
        (b"[" * 5000, "is not YAML"),
        (b"type: [model", "is not YAML"),
        (b"- 1", "does not describe a model"),
        (b"#" * (2 << 20), "larger than 128 KiB"),
    ],
)
def test_hostile_descriptions(text: bytes, message: str, packed: Path, tmp_path: Path) -> None:
    path = repack(packed, tmp_path / "changed.zip", **{"bioimageio.yaml": text})
    with pytest.raises(ModelError, match=message):
        read_package(path)


def test_files_that_are_no_packages(packed: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.zip"
    text.write_text("hello")
    assert not is_package(text)
    with pytest.raises(ModelError, match="is not a zip"):
        read_package(text)
    bare = repack(packed, tmp_path / "bare.zip", **{"bioimageio.yaml": None})
    assert not is_package(bare)
    with pytest.raises(ModelError, match=r"no bioimageio\.yaml"):
        read_package(bare)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(ModelError, match="is not a zip"):
        read_package(cut)


def test_a_link_out_of_a_folder_is_not_followed(packed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    secret = tmp_path / "secret.onnx"
    (folder / "model.onnx").rename(secret)
    try:
        (folder / "model.onnx").symlink_to(secret)
    except OSError:
        pytest.skip("no permission to make symbolic links here")
    with pytest.raises(ModelError, match="outside the package"):
        read_package(folder)


def test_an_author_and_a_licence_are_needed(
    model: onnx.ModelProto, make_network: Callable[..., RCAN]
) -> None:
    with pytest.raises(UsageError, match="author"):
        zoo_package.package(model, authors=[])
    network = make_network()
    bare = onnx_export.export_network(network, onnx_export.make_card(network.config, "bare"))
    with pytest.raises(UsageError, match="licence"):
        zoo_package.package(bare, authors=["A"])


def test_the_command(model: onnx.ModelProto, tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "actin.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "about.md").write_text("# About\n")
    done = command(
        "bioimageio", tmp_path / "actin.onnx", "-o", tmp_path / "actin.zip", "--author", "A",
        "--licence", "MIT", "--documentation", tmp_path / "about.md",
    )  # fmt: skip
    assert done.code == 0, done.err
    with zipfile.ZipFile(tmp_path / "actin.zip") as archive:
        assert archive.read("README.md") == b"# About\n"
        assert json.loads(archive.read("bioimageio.yaml"))["license"] == "MIT"
