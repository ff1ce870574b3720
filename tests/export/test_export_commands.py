"""The commands' edges: names, records, flags, cards, outputs and interruptions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from deferred import deferred
from onnx import numpy_helper

if TYPE_CHECKING:
    from live_restore_export.network import RCAN

onnx_export = deferred("live_restore_export.onnx.export")
torch = deferred("torch")


@pytest.fixture
def checkpoint(tmp_path: Path, make_network: Callable[..., RCAN]) -> Path:
    network = make_network(blocks=1, channels=4)
    path = tmp_path / "net.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def model(tmp_path: Path, make_network: Callable[..., RCAN]) -> Path:
    network = make_network(blocks=1, channels=4)
    path = tmp_path / "net.onnx"
    path.write_bytes(
        onnx_export.export_network(
            network, onnx_export.make_card(network.config, "net")
        ).SerializeToString()
    )
    return path


def refused(done: Any, message: str) -> None:
    assert done.code == 2, done.err
    assert message in done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


def test_names_are_printed_as_they_are(
    checkpoint: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    odd = checkpoint.rename(tmp_path / "[red]net[bold] :smile:.pth")
    told = command("inspect", odd).out  # in a table, whose lines end anywhere
    assert "[red]net[bold]:smile:.pth" in "".join(told.split())
    done = command("onnx", odd, "-o", tmp_path / "[x].onnx")
    assert done.code == 0, done.err
    assert "[x].onnx" in done.out


@pytest.mark.skipif(os.name == "nt", reason="Windows has only Unicode names")
def test_names_in_old_encodings(
    checkpoint: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    old = checkpoint.rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pth")))
    for arguments in (("inspect", old), ("inspect", old, "--json")):
        assert command(*arguments).code == 0
    assert command("onnx", old, "-o", tmp_path / "net.onnx").code == 0
    assert "caf" in onnx_export.read_card(onnx.load(tmp_path / "net.onnx")).training["file"]


def test_the_input_is_never_the_output(
    checkpoint: Path, model: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    same = checkpoint.rename(tmp_path / "weights.onnx")
    before = same.read_bytes()
    (tmp_path / "link.onnx").symlink_to(same)
    for output in (same, tmp_path / "link.onnx"):
        refused(command("onnx", same, "-o", output), "is also the file to read")
    assert same.read_bytes() == before
    (tmp_path / "folder.onnx").mkdir()
    refused(command("onnx", same, "-o", tmp_path / "folder.onnx"), "is a folder")
    packed = model.rename(tmp_path / "model.zip")
    refused(command("bioimageio", packed, "-o", packed, "--author", "A"), "is also the file")


def test_an_interruption_leaves_nothing(
    checkpoint: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = sorted(checkpoint.parent.iterdir())
    monkeypatch.setattr("live_restore.files.disk.Disk.replace", interrupt)
    done = command("onnx", checkpoint, "-o", checkpoint.parent / "net.onnx")
    assert done.code == 130
    assert sorted(checkpoint.parent.iterdir()) == before


def test_a_refused_disk_is_told_with_advice_for_this_command(
    checkpoint: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("live_restore.files.disk.Disk.replace", full)
    done = command("onnx", checkpoint, "-o", checkpoint.parent / "net.onnx")
    assert done.code == 1
    assert "No space left on device); choose another place with -o" in done.err


@pytest.mark.parametrize(
    "flags",
    [
        ["--lateral-shuffle", "0"],
        ["--groups", "-1"],
        ["--residual-scaling", "nan"],
        ["--voxel-z", "inf"],
        ["--voxel-xy", "0.1", "0.2", "0.3"],
        ["--patch", "0", "8", "8"],
        ["--error-bound", "nan"],
    ],
)
def test_impossible_flags(flags: list[str], checkpoint: Path, command: Callable[..., Any]) -> None:
    refused(command("onnx", checkpoint, "-o", checkpoint.parent / "a.onnx", *flags), flags[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('precision = "bf16"', "precision is measured, not said"),
        ('licens = "MIT"', "did you mean licence?"),
        ("trained_voxel_um = 5", "trained_voxel_um"),
        ('name = "a/b"', "name"),
        ("x = " + "[" * 5000, "is not a TOML file"),
    ],
)
def test_card_files_with_wrong_keys(
    text: str, message: str, checkpoint: Path, command: Callable[..., Any]
) -> None:
    card = checkpoint.parent / "card.toml"
    card.write_text(text)
    done = command(
        "onnx", checkpoint, "-o", checkpoint.parent / "a.onnx", "--card", card, "--voxel-z", 1
    )
    refused(done, message)


def damaged_zip(path: Path) -> None:
    np.savez(path, input=np.ones((1, 4, 4, 4, 1)), output=np.ones((1, 4, 4, 4, 1)))
    data = bytearray(path.read_bytes())
    data[40:90] = b"\0" * 50
    path.write_bytes(data)


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((1, 4, 4, 4, 1)))


def objects(path: Path) -> None:
    np.savez(path, input=np.array([{}], dtype=object), output=np.ones(3))


def words(path: Path) -> None:
    np.savez(path, input=np.full((1, 1, 2, 2, 2), "a"), output=np.ones((1, 1, 2, 2, 2)))


def complex_numbers(path: Path) -> None:
    np.savez(path, input=np.ones((1, 1, 2, 2, 2), "c8"), output=np.ones((1, 1, 2, 2, 2)))


def nothing_in_it(path: Path) -> None:
    np.savez(path, input=np.ones((1, 1, 0, 2, 2)), output=np.ones((1, 1, 0, 2, 2)))


def other_names(path: Path) -> None:
    np.savez(path, a=np.ones(3))


def other_channels(path: Path) -> None:
    np.savez(path, input=np.ones((1, 3, 4, 4, 5)), output=np.ones((1, 3, 4, 4, 5)))


def plain_text(path: Path) -> None:
    path.write_text("numbers")


RECORDS: dict[Callable[[Path], None], str] = {
    damaged_zip: "is not an .npz file",
    one_array: "is not an .npz file",
    objects: "allow_pickle=False",
    words: "is no image",
    complex_numbers: "is no image",
    nothing_in_it: "is no image",
    other_names: "holds neither",
    other_channels: "has no axis of 1 channels",
    plain_text: "is not an .npz file",
}


@pytest.mark.parametrize("make", RECORDS, ids=lambda make: make.__name__)
def test_records_that_are_none(
    make: Callable[[Path], None], model: Path, command: Callable[..., Any]
) -> None:
    record = model.parent / "io.npz"
    make(record)
    refused(command("verify", model, "--io", record), RECORDS[make])


def test_json_holds_no_nan(model: Path, command: Callable[..., Any]) -> None:
    shape = (1, 1, 2, 3, 3)
    np.savez(model.parent / "io.npz", input=np.ones(shape), output=np.full(shape, np.nan))
    done = command("verify", model, "--io", model.parent / "io.npz", "--json")
    assert done.code == 1
    (row,) = json.loads(done.out, parse_constant=pytest.fail)
    assert (row["largest"], row["passed"]) == (None, False)
    np.savez(model.parent / "io.npz", input=np.ones(shape), output=np.ones((1, 1, 2, 3, 5)))
    assert command("verify", model, "--io", model.parent / "io.npz").code == 1


@pytest.mark.parametrize(
    "architecture",
    [
        {"groups": 10**9},
        {"groups": 2.5},
        {"groups": "2"},
        {"channels": 5},
        {"lateral_shuffle": 2},
        {"depth": 3},
    ],
)
def test_a_card_of_another_network(
    architecture: dict[str, Any], model: Path, command: Callable[..., Any]
) -> None:
    changed = onnx.load(model)
    card = onnx_export.read_card(changed)
    onnx_export.embed_card(
        changed, card.model_copy(update={"architecture": card.architecture | architecture})
    )
    onnx.save(changed, model)
    refused(command("verify", model), "card")


def test_a_damaged_weight(model: Path, command: Callable[..., Any]) -> None:
    changed = onnx.load(model)
    changed.graph.initializer[3].raw_data = b"123"
    model.write_bytes(changed.SerializeToString())
    for arguments in (
        ("verify", model),
        ("inspect", model),
        ("bioimageio", model, "-o", model.with_suffix(".zip"), "--author", "A"),
    ):
        refused(command(*arguments), "is a damaged ONNX file")


def test_a_package_of_another_graph(model: Path, command: Callable[..., Any]) -> None:
    changed = onnx.load(model)
    changed.graph.node[0].op_type = "Pow"
    model.write_bytes(changed.SerializeToString())
    done = command(
        "bioimageio", model, "-o", model.with_suffix(".zip"), "--author", "A", "--licence", "MIT"
    )
    refused(done, "has an operation Pow")


def test_a_package_of_a_graph_that_fails(model: Path, command: Callable[..., Any]) -> None:
    changed = onnx.load(model)
    head = next(t for t in changed.graph.initializer if t.name == "head.weight")
    head.CopyFrom(numpy_helper.from_array(np.ones((4, 3, 3, 3, 3), np.float32), "head.weight"))
    model.write_bytes(changed.SerializeToString())
    done = command(
        "bioimageio", model, "-o", model.with_suffix(".zip"), "--author", "A", "--licence", "MIT"
    )
    refused(done, "its node head cannot be computed")


def test_what_a_training_recorded_is_small_and_plain(
    checkpoint: Path, command: Callable[..., Any]
) -> None:
    """A pickle may hold one list a billion times over, or tensors where a card has text."""
    state = torch.load(checkpoint, weights_only=True)
    bomb: Any = ["a"]
    for _ in range(40):
        bomb = [bomb, bomb]
    architecture = {"groups": 2, "blocks": 1, "channels": 4, "reduction": 2}
    for training in (bomb, {"note": bomb}, {"loss": torch.ones(3)}, {"training": {"patch_zyx": 3}}):
        stored = {
            "format": "live-restore-rcan",
            "architecture": architecture,
            "state_dict": state,
            "training": training,
        }
        torch.save(stored, checkpoint)
        done = command("onnx", checkpoint, "-o", checkpoint.parent / "a.onnx", "--no-verify")
        assert done.code == 0, done.err


def test_only_files_of_a_folder_are_chosen(
    checkpoint: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    folder = tmp_path / "run"
    (folder / "weights_300_0.0001.hdf5").mkdir(parents=True)
    refused(command("inspect", folder), "has no weights_{epoch}_{loss}.hdf5")


def test_half_precision_weights_convert(
    checkpoint: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    state = {k: v.half() for k, v in torch.load(checkpoint, weights_only=True).items()}
    torch.save({"module": 1, "model": {f"module.{k}": v for k, v in state.items()}}, checkpoint)
    assert command("onnx", checkpoint, "-o", tmp_path / "net.onnx").code == 0
    written = onnx.load(tmp_path / "net.onnx").graph.initializer
    body = next(numpy_helper.to_array(t) for t in written if t.name == "body.bias")
    assert np.array_equal(body, state["body.bias"].float().numpy())


def test_half_weights_halve_the_file_and_cost_next_to_nothing(
    checkpoint: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    assert command("onnx", checkpoint, "-o", whole).code == 0
    done = command("onnx", checkpoint, "-o", half, "--half-weights")
    assert done.code == 0, done.err
    weights = {
        file: sum(len(t.raw_data) for t in onnx.load(file).graph.initializer)
        for file in (whole, half)
    }
    assert weights[half] < 0.6 * weights[whole]
    card = onnx_export.read_card(onnx.load(half))
    assert card.precision == "fp32"
    assert card.metrics["precision_errors"].keys() == {"bf16", "fp16"}
    assert 0 < card.metrics["half_weights_relative_rms"] < 1e-3
    assert f"{card.metrics['half_weights_relative_rms']:.2g} relative rms" in done.out
    # Against weights that are rounded, and only those: it is exact, not nearly so.
    assert command("verify", half, "--tolerance", "1e-5").code == 0
    assert command("verify", half, "--against", checkpoint, "--tolerance", "1e-5").code == 0
    assert command("verify", whole, "--against", checkpoint, "--tolerance", "1e-5").code == 0
    assert not np.array_equal(
        *(
            numpy_helper.to_array(t).astype(np.float32)
            for file in (whole, half)
            for t in onnx.load(file).graph.initializer
            if t.name == "body.weight"
        )
    )
    again = command("onnx", checkpoint, "-o", half, "--half-weights", "--precision", "fp16")
    refused(again, "--half-weights is for float32 models")


def test_weights_that_vanish_in_half_precision_are_refused(
    tmp_path: Path, make_network: Callable[..., RCAN], command: Callable[..., Any]
) -> None:
    network = make_network(blocks=1, channels=4)
    with torch.no_grad():  # the same network to float32, but half precision ends at 6e-8
        for name, value in network.named_parameters():
            if name.endswith(".bias"):
                value.zero_()
        network.head.weight.mul_(1e-7)
        network.tail.weight.mul_(1e5)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    done = command("onnx", tmp_path / "net.pth", "-o", tmp_path / "net.onnx", "--half-weights")
    assert done.code == 2, done.err
    assert "relative rms from the unrounded weights" in done.err
    assert not (tmp_path / "net.onnx").exists()


def test_weights_beyond_half_precision_are_refused(
    tmp_path: Path, make_network: Callable[..., RCAN], command: Callable[..., Any]
) -> None:
    network = make_network(blocks=1, channels=4)
    with torch.no_grad():
        network.body.weight[0, 0, 0, 0, 0] = 1e6
    torch.save(network.state_dict(), tmp_path / "net.pth")
    done = command("onnx", tmp_path / "net.pth", "-o", tmp_path / "net.onnx", "--half-weights")
    assert done.code == 2, done.err
    assert "body.weight holds a weight too large for half precision" in done.err
    assert not (tmp_path / "net.onnx").exists()
