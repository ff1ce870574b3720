"""Tile sizes: what memory and patience allow."""

from __future__ import annotations

import numpy as np
import pytest

from live_restore.errors import DeviceMemoryError
from live_restore.inference.backends.session import Device
from live_restore.inference.device.tile_size import bytes_per_voxel, largest_tile_voxels
from live_restore.inference.model.card import ModelCard
from tests.support.fakes import FakeSession, Floats, fake_restorer, halve

CARD = ModelCard(name="x", architecture={"channels": 32})


def device(name: str, gib: float, rate: float, precision: str = "fp32") -> Device:
    return Device(name, name, name, "", precision, "", int(gib * 2**30), rate)


def test_memory_bounds_tiles() -> None:
    for gib in (4, 8, 24):
        voxels = largest_tile_voxels(CARD, device("cuda:0", gib, 1000))
        used = voxels * bytes_per_voxel(CARD, "fp32")
        assert 0.25 * gib * 2**30 < used <= 0.6 * gib * 2**30


def test_half_the_bytes_are_twice_the_tile() -> None:
    wide = largest_tile_voxels(CARD, device("cuda:0", 24, 1000))
    assert largest_tile_voxels(CARD, device("cuda:0", 24, 1000, "fp16")) == 2 * wide


def test_a_slow_device_can_still_be_stopped() -> None:
    assert largest_tile_voxels(CARD, device("openvino", 64, 1.0)) <= 10e6
    assert largest_tile_voxels(CARD, device("openvino", 64, 0.01)) == 500_000


def test_what_is_unknown_is_small() -> None:
    assert largest_tile_voxels(CARD, device("cuda:0", 0, 1000)) == 2_000_000
    assert largest_tile_voxels(CARD, device("cpu", 64, 0)) == 2_000_000


def test_too_little_memory_steps_down_once_and_says_so() -> None:
    def small_memory(tile: Floats) -> Floats:
        if tile.size > 1200:
            raise DeviceMemoryError("ran out of memory")
        return halve(tile)

    raw = np.random.default_rng(5).integers(1, 250, (4, 40, 48)).astype(np.uint16)
    restorer = fake_restorer(small_memory, {"max_tile_mvoxel": 2.0}, overlap_zyx=(1, 2, 2))
    session = restorer.model.session
    assert isinstance(session, FakeSession)
    first = restorer.restore(raw)
    assert first.tile_count > 1
    assert "did not fit into the memory" in first.tiles_reduced
    tried = len(session.shapes)
    second = restorer.restore(raw)
    assert len(session.shapes) - tried == second.tile_count, "the second stack fails nowhere"
    assert np.array_equal(first.volume, second.volume)
    assert fake_restorer(halve, overlap_zyx=(1, 2, 2)).restore(raw).tiles_reduced == ""


def test_a_tile_that_cannot_get_smaller_is_an_error() -> None:
    def no_memory(tile: Floats) -> Floats:
        raise DeviceMemoryError("ran out of memory")

    with pytest.raises(DeviceMemoryError):
        fake_restorer(no_memory, overlap_zyx=(1, 2, 2)).restore(
            np.arange(4 * 9 * 9, dtype=np.uint16).reshape(4, 9, 9)
        )
