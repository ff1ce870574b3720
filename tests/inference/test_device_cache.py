"""What is remembered: bounded, newest last."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from live_restore.inference.device import cache as module
from live_restore.inference.device.cache import DeviceCache


def test_what_is_remembered_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_ENTRIES", 3)
    monkeypatch.setattr(module, "_MOST_ARRAYS", 3)
    device_cache = DeviceCache(tmp_path / "backends.json")
    for number in range(5):
        device_cache.put(f"key {number}", {"rate": number})
        device_cache.keep_array(f"answer{number}", np.full(4, number, np.float32))
        written = tmp_path / "known_answers" / f"answer{number}.f32"
        os.utime(written, (number, number))
    assert list(device_cache.entries()) == ["key 2", "key 3", "key 4"]
    assert device_cache.get("key 4") == {"rate": 4}
    kept = [device_cache.array(f"answer{number}", (4,)) is not None for number in range(5)]
    assert kept == [False, False, True, True, True]


def test_what_is_measured_again_is_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_ENTRIES", 2)
    device_cache = DeviceCache(tmp_path / "backends.json")
    for key in ("a", "b", "a", "c"):
        device_cache.put(key, {})
    assert list(device_cache.entries()) == ["a", "c"]
