"""Files of kernels that are torn, foreign or made to do harm are refused in one line."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.errors import DeviceError
from live_restore.inference.backends.kernels.kernel_file import kernels_beside, read_kernels
from live_restore.inference.backends.kernels.plan import FORMAT, Part, Plan, Size, Weight
from live_restore.inference.backends.kernels.weights import (
    UnsuitableWeightsError,
    laid_out,
    read_initialisers,
)
from live_restore.inference.model.protobuf import field

MODEL = "a" * 64
CUBIN = b"what a card runs"
STACK = {"times": ["z", "y", "x"]}
ONE = {"times": [1]}
HUGE = {"name": "w", "initialiser": "w", "layout": "taps", "shape": [27, 4096, 4096]}


def manifest() -> dict[str, Any]:
    cubin = {"file": "sm_86/copy.cubin", "sha256": hashlib.sha256(CUBIN).hexdigest(), "shared": 0}
    return {
        "format": FORMAT,
        "model": "small",
        "model_sha256": MODEL,
        "compiler": "none",
        "programs": [
            {"name": "copy", "symbol": "copy", "threads": 128,
             "parameters": ["pointer", "pointer", "i32"], "cubins": {"86": cubin}},
        ],
        "plan": {
            "multiple_zyx": [1, 1, 1],
            "given": "given",
            "made": "made",
            "weights": [],
            "buffers": [{"name": name, "type": "float32", "size": STACK}
                        for name in ("given", "made")],
            "launches": [{"program": "copy", "grid": [ONE, ONE, ONE],
                          "arguments": ["given", "made", STACK]}],
        },
    }  # fmt: skip


def archive(said: Any, *, compression: int = zipfile.ZIP_STORED, cubin: bytes = CUBIN) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as members:
        members.writestr("manifest.json", json.dumps(said))
        members.writestr("sm_86/copy.cubin", cubin)
    return made.getvalue()


def refusal(content: bytes, folder: Path, model: str = MODEL) -> str:
    path = folder / "small.kernels.zip"
    path.write_bytes(content)
    with pytest.raises(DeviceError) as refused:
        read_kernels(path, model)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400
    assert "live-restore-export kernels small" in str(refused.value)
    return str(refused.value)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "small.kernels.zip"
    path.write_bytes(archive(manifest()))
    kernels = read_kernels(path, MODEL)
    assert kernels.cubin(kernels.manifest.programs[0], "86") == CUBIN
    assert kernels_beside(tmp_path / "small.onnx") == path


def test_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="is not beside the model"):
        read_kernels(tmp_path / "small.kernels.zip", MODEL)


def test_a_torn_file_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = archive(manifest())
    for end in range(0, len(whole), 37):
        assert "is damaged" in refusal(whole[:end], tmp_path)


def test_a_byte_that_changed_is_refused(tmp_path: Path) -> None:
    assert "has another digest" in refusal(archive(manifest(), cubin=b"something else"), tmp_path)


def test_kernels_of_another_model_are_refused(tmp_path: Path) -> None:
    said = refusal(archive(manifest()), tmp_path, "b" * 64)
    assert "of another model, aaaaaaaaaaaa, not bbbbbbbbbbbb" in said


def test_nothing_in_it_may_swell(tmp_path: Path) -> None:
    swelling = archive(manifest(), compression=zipfile.ZIP_DEFLATED)
    assert "is compressed" in refusal(swelling, tmp_path)


def test_a_file_for_another_card_names_both(tmp_path: Path) -> None:
    path = tmp_path / "small.kernels.zip"
    path.write_bytes(archive(manifest()))
    with pytest.raises(DeviceError, match=r"capability 8\.6, and this card has 9\.0"):
        read_kernels(path, MODEL).capability_for((9, 0))


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    *way, last, value = path

    def change(said: dict[str, Any]) -> None:
        held: Any = said
        for step in way:
            held = held[step]
        held[last] = value

    return change


LAUNCH = ("plan", "launches", 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set("format", "live-restore-kernels/2"), "its format is 'live-restore-kernels/2'"),
        (_set("programs", 0, "cubins", "86", "file", "../../escape"), "file"),
        (_set("programs", 0, "cubins", "86", "file", "sm_86/other.cubin"), "is missing"),
        (_set("programs", 0, "threads", 4096), "threads"),
        (_set("programs", 0, "symbol", "a\nb"), "symbol"),
        (_set("programs", 0, "cubins", "86", "shared", 10**9), "shared"),
        (_set(*LAUNCH, "program", "erase"), "no program erase"),
        (_set(*LAUNCH, "arguments", ["given", "other", STACK]), "no weight or buffer other"),
        (_set(*LAUNCH, "arguments", ["given", "made"]), "other arguments than it takes"),
        (_set(*LAUNCH, "arguments", ["given", STACK, "made"]), "other arguments than it takes"),
        (_set(*LAUNCH, "grid", [ONE, ONE]), "grid"),
        (_set("plan", "given", "nowhere"), "nowhere is no buffer in float32"),
        (_set("plan", "buffers", 1, "name", "given"), "stands for two things"),
        (_set("plan", "buffers", 0, "size", {"times": ["z"] * 9}), "times"),
        (_set("plan", "buffers", 0, "size", {"times": [-1]}), "times"),
        (_set("plan", "buffers", 0, "size", {"times": ["z"], "over": 0}), "over"),
        (_set("plan", "launches", []), "launches"),
        (_set("plan", "weights", [HUGE]), "larger than any model's"),
        (_set("plan", "surprise", 1), "surprise"),
    ],
)
def test_what_a_manifest_must_not_say(
    change: Callable[[dict[str, Any]], None], why: str, tmp_path: Path
) -> None:
    said = manifest()
    change(said)
    assert why in refusal(archive(said), tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5000, '{"format": 1}', '{"a": "\\ud800"}'])
def test_a_manifest_that_is_none(text: str, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as members:
        members.writestr("manifest.json", text)
    assert "is damaged" in refusal(made.getvalue(), tmp_path)


def plan(**changed: Any) -> Plan:
    return Plan.model_validate_json(json.dumps(manifest()["plan"] | changed))


def test_tiles_whose_offsets_would_wrap_around_are_too_large() -> None:
    bounded = plan(limits=[{"size": {"times": ["y", "x", 32]}, "below": 2**31}])
    assert not bounded.too_large((4, 8191, 8192))
    assert bounded.too_large((4, 8192, 8192))
    rows = [[ONE, {"times": ["y"]}, ONE]]
    tall = plan(launches=[manifest()["plan"]["launches"][0] | {"grid": rows[0]}])
    assert not tall.too_large((1, 65535, 8))
    assert tall.too_large((1, 65536, 8))
    assert plan().too_large((2**11, 2**10, 2**10))  # a number of 32 bits does not hold it


def test_sizes_are_rounded_up_before_they_are_multiplied() -> None:
    programs = Size(times=("z", Part(of="y", over=16), Part(of="x", over=32)), over=128, by=32)
    assert programs.of((3, 17, 33)) == 32
    assert programs.of((33, 17, 33)) == 64


def tensor(dims: list[int], kind: int, raw: bytes, name: str = "head.weight") -> bytes:
    held = b"".join(field(1, size) for size in dims)
    held += field(2, kind) + field(8, name) + field(9, raw)
    return field(7, field(5, held))


def test_weights_are_folded_and_padded() -> None:
    values = np.arange(2 * 108, dtype=np.float32).reshape(2, 1, 3, 6, 6)
    found = read_initialisers(tensor([2, 1, 3, 6, 6], 1, values.tobytes()))
    weight = Weight(name="w", initialiser="head.weight", layout="taps", shape=(27, 16, 16), fold=2)
    made = laid_out(weight, found)
    assert made.dtype == np.float16
    # Tap (2, 1, 0), pixel (1, 0) of each 2 x 2, into channel 1.
    assert made[2 * 9 + 3, 2, 1] == values[1, 0, 2, 2 * 1 + 1, 0]
    assert not made[:, 4:].any()
    assert not made[:, :, 2:].any()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff" * 30, "no ONNX model"),
        (tensor([2, 3], 1, bytes(20)), "torn"),
        (tensor([2**40, 2**40], 1, bytes(20)), "torn"),
        (tensor([17, 1, 3, 6, 6], 1, bytes(17 * 108 * 4)), "does not go into"),
        (tensor([2, 1, 3, 3, 3], 1, bytes(2 * 27 * 4)), "does not go into"),
        (tensor([8], 1, bytes(32)), "does not go into"),
        (tensor([2, 1, 3, 6, 6], 1, b"\0\0\x80\x7f" * 216), "does not fit into float16"),
        (tensor([2, 1, 3, 6, 6], 1, bytes(864), "tail.weight"), "no weights head.weight"),
    ],
)
def test_weights_that_are_not_those_of_the_plan(content: bytes, why: str) -> None:
    weight = Weight(name="w", initialiser="head.weight", layout="taps", shape=(27, 16, 16), fold=2)
    with pytest.raises(UnsuitableWeightsError, match=why):
        laid_out(weight, read_initialisers(content))
