"""A GPU's forms of running a model: tried in order, believed by the known answer, remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.errors import DeviceError, DeviceMemoryError, RuntimeFailureError
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Floats, Shape5
from live_restore.inference.device import forms, measure
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.choice import ChosenSession, DeviceRequest
from live_restore.inference.model.card import ModelCard
from live_restore.testing.fakes import FakeBackend, FakeFormsBackend, FakeSession, halve

SOURCE = ModelSource(Path("m.onnx"), b"", "d" * 64)
CARD = ModelCard(name="m")
STACK: Shape5 = (1, 1, 16, 160, 160)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_MEASURING_S", 0.03)
    monkeypatch.setattr(forms, "_MEASURING_S", 0.015)
    monkeypatch.setattr(forms, "_TILES_ZYX", ((16, 128, 128), (16, 96, 96)))


def form(
    function: Callable[[Floats], Floats] = halve, seconds: float = 0.01, precision: str = "fp16"
) -> FakeBackend:
    return FakeBackend("cuda", function, seconds, (precision,))


class Broken(FakeBackend):
    def open(self, *_: object) -> FakeSession:
        raise DeviceError("not all nodes are on the GPU")


def choose(
    folder: Path,
    others: dict[str, FakeBackend],
    device: str = "auto",
    card: ModelCard = CARD,
    *,
    reduced: bool = True,
) -> ChosenSession:
    cpu = FakeBackend("cpu", seconds=0.05)
    trusted = cpu.open(SOURCE, STACK, "fp32", 0, Limits())
    return ChosenSession(
        SOURCE,
        card,
        trusted,
        DeviceRequest(device, reduced),
        [FakeFormsBackend("cuda", others, 0.03), cpu],
        DeviceCache(folder / "backends.json"),
    )


def ran(session: ChosenSession, shape: Shape5 = STACK) -> str:
    session.run(np.zeros(shape, np.float32))
    return f"{session.device.precision} {session.device.form}".strip()


def fails_from(voxels: int, error: type[Exception] = RuntimeFailureError) -> FakeBackend:
    def run(tile: Floats) -> Floats:
        if tile.size >= voxels:
            raise error("cuDNN failed")
        return halve(tile)

    return form(run, 0.0)


def wrong_from(voxels: int) -> FakeBackend:
    return form(lambda tile: halve(tile) * np.float32(0.7 if tile.size >= voxels else 1), 0.0)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_the_fastest_right_form_runs_and_the_others_are_named(tmp_path: Path, device: str) -> None:
    others = {
        "no graph": Broken("cuda", precisions=("fp16",)),
        "wrong": wrong_from(0),
        "slow": form(seconds=0.05),
        "right": form(lambda tile: halve(tile) * np.float32(1.001)),
        "wrong when large": wrong_from(16 * 128 * 128),
        "fails at once": fails_from(0),
    }
    session = choose(tmp_path, others, device)
    assert ran(session) == "fp16 right"
    found = session.device
    for name, why in (
        ("no graph", "not all nodes are on the GPU"),
        ("wrong", "it computes wrong numbers"),
        ("wrong when large", "on a tile of 16 x 128 x 128"),
        ("fails at once", "cuDNN failed"),
    ):
        assert f"cuda fp16 ({name})" in found.reason
        assert why in found.reason
    assert "forms on 16 x 128 x 128" in found.reason
    assert "cuda fp16 (slow)" in found.reason, "its rate is told"
    assert found.known_answer_error == pytest.approx(0.001, rel=0.9)
    assert found.warning == ""


def test_what_was_tried_is_remembered_with_what_failed(tmp_path: Path) -> None:
    assert ran(choose(tmp_path, {"a": form(), "b": wrong_from(0)})) == "fp16 a"
    again = {"a": form(), "b": form(seconds=0.0)}
    session = choose(tmp_path, again)
    assert ran(session) == "fp16 a"
    assert again["b"].opened == [], "nobody tries again what was wrong"
    assert "cuda fp16 (b): it computes wrong numbers" in session.device.reason


@pytest.mark.parametrize(
    "damage",
    [
        {"mvoxel_per_s": {"cuda fp16 (a)": "fast"}},
        {"mvoxel_per_s": {"cuda fp16 (a)": float("inf")}},
        {"failed": []},
        {"failed": {"x": 1}},
        {"tile": [1, 2, 3]},
        {"tile": "16 x 128 x 128"},
        {"short_of_memory_mib": {"cuda fp16 (a)": []}},
        {"begun": 7},
        {"begun": {"cuda fp16 (a)": [1]}},
        {"begun": {"cuda fp16 (a)": [-1, "x"]}},
        {"ended": {"cuda fp16 (a)": "often"}},
        {"short_of_memory_mib": []},
        {"wrong": {}},
    ],
)
def test_a_damaged_memory_is_tried_anew(tmp_path: Path, damage: dict[str, object]) -> None:
    choose(tmp_path, {"a": form()})
    path = tmp_path / "backends.json"
    table = json.loads(path.read_text())
    for key, entry in table.items():
        if key.startswith("forms"):
            entry.update(damage)
    path.write_text(json.dumps(table))
    assert ran(choose(tmp_path, {"a": form()})) == "fp16 a"


def test_a_form_that_is_wrong_for_a_stack_alone_is_followed_by_the_next_form(
    tmp_path: Path,
) -> None:
    others = {"wrong later": wrong_from(300_000), "fails later": fails_from(300_000)}
    others["c"] = form(seconds=0.02)
    session = choose(tmp_path, others)
    assert ran(session, (1, 1, 16, 64, 64)) in ("fp16 wrong later", "fp16 fails later")
    assert ran(session) == "fp16 c", "and not the processor"
    assert "cuda fp16 (fails later): cuDNN failed" in session.device.reason
    assert "cuda fp16 (wrong later): it computes wrong numbers" in session.device.reason


def test_a_form_is_refused_for_tiles_as_large_alone(tmp_path: Path) -> None:
    session = choose(tmp_path, {"a": wrong_from(300_000), "b": form()})
    assert ran(session, (1, 1, 16, 64, 64)) == "fp16 a"
    assert ran(session) == "fp16 b"
    assert "(a): it computes wrong numbers" in session.device.reason
    assert "(tiles of 0.41 Mvoxel and more)" in session.device.reason
    assert ran(session, (1, 1, 16, 96, 96)) == "fp16 a", "it is right there"
    assert ran(session, (1, 1, 16, 161, 160)) == "fp16 b"


def test_a_form_that_does_not_know_the_small_answer_any_more_is_refused_for_all(
    tmp_path: Path,
) -> None:
    bad = [False]
    session = choose(
        tmp_path, {"a": form(lambda t: halve(t) * np.float32(0.7 if bad[0] else 1), 0.0)}
    )
    assert ran(session, (1, 1, 16, 64, 64)) == "fp16 a"
    bad[0] = True
    session._forget(session._candidates.variants[1])
    assert ran(session) == "fp32"
    assert ran(session, (1, 1, 16, 64, 64)) == "fp32"
    assert "and more" not in session.device.reason


def test_what_is_left_after_a_refusal_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, ...]] = []
    measure_them = measure.Measurement._measure

    def seen(self: measure.Measurement, variants: Any, shape: Shape5) -> Any:
        if shape == STACK:
            measured.append(tuple(each.form for each in variants))
        return measure_them(self, variants, shape)

    monkeypatch.setattr(measure.Measurement, "_measure", seen)
    others = {f"{n} wrong": wrong_from(300_000) for n in range(9)}
    others["slow but right"] = form(seconds=0.02)
    session = choose(tmp_path, others)
    assert ran(session) == "fp32", "four that fail are enough: a stack is waiting"
    pairs = [each for each in measured if any(each)]
    assert [len(each) for each in pairs] == [2, 2]
    assert len(set(pairs)) == len(pairs)
    assert ran(session, (1, 1, 16, 64, 64)).startswith("fp16")


def test_forms_of_a_device_that_is_lost_are_not_asked_for_smaller_tiles(tmp_path: Path) -> None:
    others = {"a": form()}
    session = choose(tmp_path, others)
    assert ran(session) == "fp16 a"

    def lost(_: Floats) -> Floats:
        raise RuntimeFailureError("no CUDA-capable device")

    for backend in (others["a"], session._candidates.variants[0].backend):
        backend._function = lost  # type: ignore[union-attr]
    assert ran(session) == "fp32"
    assert session.device.name == "cpu"
    opened = len(others["a"].opened)
    assert ran(session, (1, 1, 16, 64, 64)) == "fp32"
    assert len(others["a"].opened) == opened


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_form_that_breaks_while_stacks_arrive_costs_no_stack(tmp_path: Path, device: str) -> None:
    broken: list[int] = []

    def run(tile: Floats) -> Floats:
        if broken and tile.size >= 300_000:  # it still knows the small known answer
            raise RuntimeFailureError("the graph cannot be repeated")
        return halve(tile)

    session = choose(tmp_path, {"a": form(run)}, device)
    assert ran(session) == "fp16 a"
    broken.append(1)
    assert ran(session) == "fp32"
    assert "it failed (the graph cannot be repeated)" in session.device.reason


def test_a_form_for_which_memory_is_short_gives_way_to_the_next(tmp_path: Path) -> None:
    session = choose(tmp_path, {"a": fails_from(300_000, DeviceMemoryError), "b": form()})
    assert ran(session) == "fp16 b"
    short = choose(tmp_path / "2", {"a": fails_from(200_000, DeviceMemoryError)})
    assert ran(short) == "fp32"


def test_another_card_or_driver_is_tried_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = ["RTX 3060, driver 1"]
    for module in (forms, measure):
        monkeypatch.setattr(module, "nvidia_card", lambda _: card[0])
    for card[0] in ("RTX 3060, driver 1", "RTX 3060, driver 2", "RTX 4070, driver 2"):
        for times in (2, 0):  # a small tile and a large one; remembered
            others = {"a": form()}
            session = choose(tmp_path, others)
            opened = len(others["a"].opened)
            assert ran(session) == "fp16 a"
            assert opened >= times
            if not times:
                shapes = [shape for shape, _ in others["a"].opened]
                assert (1, 1, 16, 128, 128) not in shapes
    table = json.loads((tmp_path / "backends.json").read_text())
    measured = [key for key in table if not key.startswith("forms")]
    assert all("driver" in key for key in measured if "cuda" in key)


def test_where_no_ordinary_one_runs_no_form_is_tried(tmp_path: Path) -> None:
    class NoLibraries(FakeFormsBackend):
        def open(self, *_: object) -> FakeSession:
            raise DeviceError("the CUDA libraries could not be loaded")

    others = {"a": form()}
    backends = [NoLibraries("cuda", others), FakeBackend("cpu")]
    trusted = FakeBackend("cpu").open(SOURCE, STACK, "fp32", 0, Limits())
    cache = DeviceCache(tmp_path / "backends.json")
    session = ChosenSession(SOURCE, CARD, trusted, DeviceRequest(), backends, cache)
    assert ran(session) == "fp32"
    assert session.device.warning == "running on the CPU: the CUDA libraries could not be loaded"
    assert others["a"].opened == []


def test_less_than_float32_is_forbidden_to_forms_as_well(tmp_path: Path) -> None:
    others = {"half": form(seconds=0.0), "whole": form(precision="fp32")}
    assert ran(choose(tmp_path / "1", others, reduced=False)) == "fp32 whole"
    card = ModelCard(name="m", metrics={"precision_errors": {"fp16": {"relative_rms": 0.03}}})
    assert ran(choose(tmp_path / "2", others, card=card)) == "fp32 whole"


def test_a_form_slower_than_the_ordinary_one_does_not_run(tmp_path: Path) -> None:
    assert ran(choose(tmp_path, {"a": form(seconds=0.06)})) == "fp32"
