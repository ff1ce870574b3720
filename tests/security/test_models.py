"""Models from strangers: they hold their own numbers, and name no other file."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from live_restore.errors import ModelError
from live_restore.inference.backends import onnx
from live_restore.inference.load import bundled_models, find_model, load_model
from live_restore.inference.model.onnx_content import HostileModelError, require_self_contained
from tests.fuzz.seeds import CARD
from tests.support.protobuf import doubling, external, message, model, node, tensor

LOCATIONS = ["weights.bin", "../weights.bin", "../../etc/passwd", "/etc/passwd", "/dev/zero",
             "C:\\weights.bin", "\\\\server\\share\\weights.bin", "fifo", ""]  # fmt: skip


def hostile(initializer: bytes) -> bytes:
    return model(node("Mul", ("in", "two"), "out"), initializers=(initializer,), card=CARD)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("location", LOCATIONS)
def test_weights_in_another_file_are_refused_before_a_runtime_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """ONNX Runtime takes ``weights.bin`` from the folder that the program was started in.

    Seen to fail without ``require_self_contained``: the runtime is asked.
    """
    (tmp_path / "weights.bin").write_bytes(struct.pack("<f", 3.0))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a.onnx").write_bytes(hostile(external("two", (), location, offset=0, length=4)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(onnx, "create", None)
    with pytest.raises(ModelError, match="keeps its weights in another file"):
        load_model(tmp_path / "a.onnx", "cpu")


def places() -> dict[str, bytes]:
    """Return models with a tensor in another file, in every place where a tensor can be."""
    elsewhere = external("two", (1,), "weights.bin")
    constant = message((1, "value"), (5, elsewhere), (20, 4))
    graph = message((1, node("Constant", (), "c", (5, constant))), (2, "inner"))
    branch = message((1, "then_branch"), (6, graph), (20, 5))
    sparse = message((1, elsewhere), (2, tensor("i", (1,), bytes(4))), (3, 1))
    function = message((1, "f"), (7, node("Constant", (), "c", (5, constant))), (10, "d"))
    flagged = message((1, 1), (2, 1), (8, "two"), (14, 1))
    return {
        "initializer": hostile(elsewhere),
        "only its flag": hostile(flagged),
        "attribute": model(node("Constant", (), "out", (5, constant)), card=CARD),
        "tensors": model(node("X", (), "out", (5, message((10, elsewhere))))),
        "branch": model(node("If", ("in",), "out", (5, branch)), card=CARD),
        "graphs": model(node("X", (), "out", (5, message((11, graph))))),
        "sparse": model(node("Identity", ("in",), "out"), more=((7, message((15, sparse))),)),
        "sparse attribute": model(node("X", (), "out", (5, message((22, sparse))))),
        "function": model(node("Identity", ("in",), "out"), more=((25, function),)),
        "training": model(node("Identity", ("in",), "out"), more=((20, message((1, graph))),)),
    }


@pytest.mark.parametrize("content", places().values(), ids=places().keys())
def test_wherever_a_tensor_can_be(content: bytes) -> None:
    with pytest.raises(HostileModelError, match="another file"):
        require_self_contained(content)


@pytest.mark.parametrize("domain", ["com.attacker", "ai.onnx.contrib", "x" * 5000])
def test_operators_of_another_maker_are_refused_by_name(domain: str) -> None:
    for content in (
        model(node("Evil", ("in",), "out", (7, domain)), card=CARD),
        model(node("Identity", ("in",), "out"), more=((8, message((1, domain), (2, 1))),)),
    ):
        with pytest.raises(HostileModelError, match=f"needs operators of '{domain[:60]}'"):
            require_self_contained(content)


def test_graphs_within_graphs_without_end() -> None:
    graph = message((2, "innermost"))
    for _ in range(200):
        graph = message((1, node("If", (), "x", (5, message((6, graph), (20, 5))))))
    with pytest.raises(HostileModelError, match="deeper"):
        require_self_contained(message((7, graph)))


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"<html>", b"\x3b"])
def test_what_is_no_protocol_buffer(content: bytes) -> None:
    with pytest.raises(HostileModelError, match="not an ONNX file"):
        require_self_contained(content)


def test_good_models_pass() -> None:
    require_self_contained(doubling(CARD))
    for path in bundled_models().values():
        require_self_contained(path.read_bytes())


@pytest.mark.parametrize(
    "named", ["http://127.0.0.1:9/a.onnx", "file:///etc/passwd", "s3://a/b.onnx"]
)
def test_models_come_from_files_only(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(ModelError, match="neither a file nor a bundled model"):
        find_model(named)
