"""Several devices, and runtimes that fail, under the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import tifffile

from live_restore.errors import (
    InferenceError,
    RuntimeFailureError,
)
from live_restore.journal.states import State
from tests.support.fakes import Floats, fake_shelf, halve
from tests.support.pipeline import PATIENCE_S, Bench, shelves_on
from tests.support.processes import wait_for


def test_every_device_restores_a_stack_at_the_same_time(bench: Bench) -> None:
    met = threading.Barrier(2, timeout=PATIENCE_S)  # broken, and the stack failed, if one is alone
    devices: set[int] = set()

    def on(device: int) -> Callable[[Floats], Floats]:
        def run(tile: Floats) -> Floats:
            devices.add(device)
            met.wait()
            return halve(tile)

        return run

    bench.model_set = shelves_on(on(0), on(1))
    images = np.random.default_rng(0).integers(10, 200, (4, 3, 8, 10))
    bench.stack("lapse.tif", images, "TZYX")
    for number in range(4):
        bench.stack(f"{number}.tif")
    bench.run()
    assert devices == {0, 1}
    assert all(entry.state is State.DONE for entry in bench.journal.entries())
    alone = fake_shelf().rules[0][1]
    assert alone is not None
    written = tifffile.imread(bench.result("lapse.ome.tif"))
    for stack, image in zip(written, images.astype(np.uint16), strict=True):
        assert np.array_equal(stack, alone.restore(image).volume)


def test_a_stack_that_fails_on_one_device_leaves_the_others_theirs(bench: Bench) -> None:
    def fail(tile: Floats) -> Floats:
        raise InferenceError("no", None)

    bench.model_set = shelves_on(fail, halve)
    for number in range(6):
        bench.stack(f"{number}.tif")
    bench.run()
    states = [entry.state for entry in bench.journal.entries()]
    assert set(states) == {State.DONE, State.FAILED}


def test_a_runtime_that_fails_for_a_while_costs_no_stack(bench: Bench) -> None:
    left = [2]

    def fails_twice(tile: Floats) -> Floats:
        if left[0]:
            left[0] -= 1
            raise RuntimeFailureError("CUDA failure 999: unknown error")
        return halve(tile)

    bench.model_set = fake_shelf(fails_twice)
    bench.stack("a.tif")
    bench.start()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the third attempt", PATIENCE_S)


def test_a_stack_over_which_the_runtime_always_fails_is_set_aside(bench: Bench) -> None:
    def fails(tile: Floats) -> Floats:
        if tile.shape[2] == 5:
            raise RuntimeFailureError("CUDA failure 999: unknown error")
        return halve(tile)

    bench.model_set = fake_shelf(fails)
    bench.stack("1.tif")
    bench.stack("2.tif", np.random.default_rng(1).integers(1, 99, (5, 8, 8)))
    bench.stack("3.tif")
    bench.start()
    wait_for(lambda: bench.state("2.tif") is State.FAILED, "the third attempt", PATIENCE_S)
    wait_for(lambda: bench.state("3.tif") is State.DONE, "the next", PATIENCE_S)
    assert bench.entry("2.tif").attempts == 3
    assert "CUDA failure 999" in bench.entry("2.tif").reason
