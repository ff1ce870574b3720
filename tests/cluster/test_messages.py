"""What crosses the wire: bytes and JSON, uncopied, and nothing that could run."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_restore.cluster.message import Message, put_together, taken_apart
from live_restore.cluster.protocol import (
    Answer,
    CameraNoise,
    Offer,
    Options,
    Request,
    answer_of,
    is_offer,
    options_text,
    request_of,
    to_message,
    version_of,
)
from live_restore.cluster.values import DamagedMessageError, made, plain
from live_restore.inference.restored import Restored
from live_restore.settings.camera import CameraSettings
from live_restore.settings.load import load_settings
from live_restore.settings.output import OutputSettings
from live_restore.settings.section import NO_PIXELS
from tests.support.fakes import fake_restorer

NOISE = CameraNoise(2.0, 100.0, 1.5)
RAW = np.arange(3 * 40 * 40, dtype=np.uint16).reshape(3, 40, 40)


def travelled(message: Message) -> Message:
    """Return what arrives of a message."""
    header, frames = taken_apart(message)
    return put_together(json.loads(json.dumps(header)), [bytes(frame) for frame in frames])


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, arrays to the bit."""
    first: list[Any] = []
    second: list[Any] = []
    if plain(one, first) != plain(other, second):
        return False
    return all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(first, second, strict=True)
    )


def test_a_result_arrives_as_it_was() -> None:
    camera = {"gain_adu_per_e": 2.0, "offset_adu": 0.0, "read_noise_e": 1.0}
    settings = load_settings(None, {"camera": camera})
    raw = RAW.copy()
    raw[1, 5, 5] = 60000
    restored = fake_restorer(camera=settings.camera).restore(raw)
    assert any(restored.defects) or restored.given_back is not None
    answer = Answer(
        "restored", restored, {"name": "cpu", "on_gpu": False}, np.ones((1, 1, 2, 2, 2))
    )
    arrived = answer_of(travelled(to_message(answer)), raw)
    assert arrived.restored is not None
    assert same(arrived, replace(answer, device=arrived.device))
    assert type(arrived.restored) is Restored
    assert arrived.restored.volume.dtype == np.uint16


def test_a_request_arrives_with_what_can_change_a_voxel_and_nothing_else() -> None:
    settings = load_settings(
        None,
        {
            "inference": {"device": "cpu", "threads": 7, "percentiles": [1, 99]},
            "output": {"units": "camera-float", "defects": "mend"},
        },
    )
    sent = Request("f" * 64, options_text(settings), RAW, NOISE, np.zeros((40, 40), bool), True)
    arrived = request_of(travelled(to_message(sent)))
    assert same(arrived, sent)
    options = arrived.settings()
    assert (options.units, options.defects) == ("camera-float", "mend")
    assert options.inference.percentiles == (1.0, 99.0)
    assert (options.inference.threads, options.inference.device) == (0, "auto"), "the worker's own"


def test_every_setting_that_changes_a_voxel_has_its_place_in_a_request() -> None:
    """A new one must not be forgotten on other computers."""
    sections = {name for name, value in load_settings().pixel_settings().items() if value}
    # Files are read where the raw data are; models and cameras have places of their own.
    assert sections <= {"inference", "output", "models", "files", "camera", "cameras"}
    of_output = {
        name
        for name, each in OutputSettings.model_fields.items()
        if each.json_schema_extra != NO_PIXELS
    }
    assert {"units", "defects"} <= of_output
    assert of_output <= {each.name for each in fields(Options)}


def test_the_camera_travels_without_paths_of_the_watcher(tmp_path: Path) -> None:
    camera = CameraSettings(
        gain_adu_per_e=2.0, offset_adu=100.0, read_noise_e=1.5, bad_pixels=tmp_path / "bad.tif"
    )
    sent = CameraNoise.of(camera)
    assert sent == NOISE
    assert sent.settings() == camera.model_copy(update={"bad_pixels": None})
    with pytest.raises(DamagedMessageError):
        CameraNoise(-1.0, 0.0, 0.0).settings()


def test_arrays_travel_uncopied() -> None:
    _, (frame,) = taken_apart(Message("{}", (RAW,)))
    assert np.shares_memory(np.frombuffer(frame, np.uint8), RAW)
    arrived = put_together({"text": "{}", "arrays": [["<u2", [3, 40, 40]]]}, [frame]).arrays[0]
    assert np.shares_memory(arrived, RAW)


@pytest.mark.parametrize("dtype", [">u2", "<u2", "?", "<f4", "u1", "<i8"])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3, 4)])
def test_every_kind_of_array_arrives(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, dtype)
    (arrived,) = travelled(Message("x", (array,))).arrays
    assert arrived.shape == shape
    assert arrived.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(arrived, array)


@pytest.mark.parametrize(
    ("described", "frames"),
    [
        ([["<u2", [3]]], [b"12"]),
        ([["<u2", [2**62]]], [b"12"]),
        ([["O", [1]]], [b"12345678"]),
        ([["<u2", [-1]]], [b""]),
        ([["V8", [1]]], [b"12345678"]),
        ([["nonsense", [1]]], [b"1"]),
        ([["<u2", "ab"]], [b"12"]),
        ([7], [b"1"]),
        ([], [b"1"]),
        (None, []),
    ],
)
def test_damaged_arrays_are_refused(described: Any, frames: list[bytes]) -> None:
    with pytest.raises(DamagedMessageError):
        put_together({"text": "{}", "arrays": described}, frames)


@dataclass(frozen=True)
class _Inner:
    numbers: tuple[float, ...]
    name: str | None


@dataclass(frozen=True)
class _Outer:
    inner: _Inner
    table: dict[str, int]
    array: np.ndarray


TEXTS = st.text("ab-\x00\u00e9\u2028", max_size=5)  # of all characters: a second for their table
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=30)
@given(JSON)
def test_whatever_arrives_is_what_was_asked_for_or_refused(value: Any) -> None:
    for kind in (_Outer, _Inner, Answer, Request, tuple[int, str], dict[str, float], float):
        try:
            found: Any = made(kind, value, [RAW])  # type: ignore[arg-type]
        except DamagedMessageError:
            continue
        if kind is _Inner:
            assert all(type(each) is float for each in found.numbers)


def test_a_result_of_another_shape_is_refused() -> None:
    answer = Answer("restored", fake_restorer().restore(RAW))
    with pytest.raises(DamagedMessageError, match="for a stack of"):
        answer_of(to_message(answer), RAW[:2])


def test_whoever_asks_is_known_by_his_version_whatever_he_asks() -> None:
    assert version_of(Message('{"version": "9.9", "unheard": 1}')) == "9.9"
    with pytest.raises(DamagedMessageError):
        version_of(Message("no JSON"))


def test_offers_name_version_and_model() -> None:
    assert str(Offer("fast", "abc" * 20, "1.2")) == "live-restore 1.2 fast abcabcabcabc"
    assert is_offer(str(Offer("fast", "f" * 64)))
    assert not is_offer("GPU")
