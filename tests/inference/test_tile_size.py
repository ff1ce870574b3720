"""Tile sizes: what memory and patience allow."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from live_restore.errors import DeviceMemoryError
from live_restore.inference.backends.session import Device
from live_restore.inference.device.tile_size import bytes_per_voxel, largest_tile_voxels
from live_restore.inference.model.card import ModelCard
from live_restore.inference.restored import Restored
from tests.support.fakes import FakeSession, Floats, fake_restorer, halve

CARD = ModelCard(name="x", architecture={"channels": 32})


def device(name: str, gib: float, rate: float, precision: str = "fp32") -> Device:
    gpu = name.startswith("cuda")
    return Device(name, name, name, "", precision, "", int(gib * 2**30), rate, gpu)


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


RAW = np.random.default_rng(5).integers(1, 250, (4, 40, 48)).astype(np.uint16)


class TwoWorkers:
    """A restorer that two workers use at once; "behind" goes on where "first" is done."""

    def __init__(self, voxels_for_behind: float = 1200) -> None:
        self.failures: Counter[str] = Counter()
        self._fits = {"first": 1200, "behind": voxels_for_behind}
        self._together = threading.Barrier(2, timeout=10)
        self._first_is_done = threading.Event()
        self._began: set[str] = set()
        self.restorer = fake_restorer(self._run, {"max_tile_mvoxel": 2.0}, overlap_zyx=(1, 2, 2))

    def restore_both(self) -> tuple[Restored, Restored]:
        """Return the results of "first" and of "behind"."""
        with ThreadPoolExecutor(2) as pool:
            first, behind = pool.map(self.restore, ("first", "behind"))
        return first, behind

    def restore(self, who: str) -> Restored:
        """Restore the stack as one of the two."""
        threading.current_thread().name = who
        try:
            return self.restorer.restore(RAW)
        finally:
            self._first_is_done.set()

    def _run(self, tile: Floats) -> Floats:
        who = threading.current_thread().name
        if who not in self._began:
            self._began.add(who)
            self._together.wait()  # for ever, if one run waited for the other
            if who == "behind":
                assert self._first_is_done.wait(10)
        if tile.size > self._fits[who]:
            self.failures[who] += 1
            raise DeviceMemoryError("ran out of memory")
        return halve(tile)


def test_a_worker_that_is_behind_takes_the_limit_that_the_other_one_found() -> None:
    workers = TwoWorkers()
    first, behind = workers.restore_both()
    assert workers.failures["first"] > 1, "the first one went down in steps"
    assert workers.failures["behind"] == 1, "and the other one at once to where it fits"
    assert behind.tile_zyx == first.tile_zyx
    assert behind.tiles_reduced == first.tiles_reduced != ""
    assert np.array_equal(behind.volume, first.volume)
    workers.failures.clear()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(workers.restore, "first").result()
    assert not workers.failures, "nor did it set the limit up again"


def test_a_stack_whose_tiles_were_not_reduced_does_not_say_so() -> None:
    first, behind = TwoWorkers(voxels_for_behind=np.inf).restore_both()
    assert first.tiles_reduced != ""
    assert (behind.tile_count, behind.tiles_reduced) == (1, "")
