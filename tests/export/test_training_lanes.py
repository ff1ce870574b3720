"""Lanes: who prepares which batch, whatever was before, and what happens when one dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import pytest
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.batches import Batch
from live_restore_export.training.lanes import Lane, lane_batches
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.patches import Patch
from live_restore_export.training.sources import SimulatedSource

from live_restore.errors import StackUnreadableError, TrainingError

SIMULATION = SimulationConfig.model_validate(
    {"shape_zyx": (6, 24, 24), "structures_per_stack": (1, 1)}
)
OPTIONS = TrainingOptions(
    patch_zyx=(4, 16, 16), batch=2, lanes=2, scene_refresh_steps=2, scenes_kept=4
)
SOURCE = SimulatedSource(SIMULATION, 9)


@dataclass(frozen=True)
class Flat:
    """A subject whose every patch has one value."""

    value: int

    def cut(self, options: TrainingOptions, *_: Any) -> Patch:
        patch = np.full(options.patch_zyx, self.value, np.float32)
        return Patch(patch, patch)


@dataclass(frozen=True)
class Numbered:
    """Gives flat subjects; number ``broken`` cannot be read."""

    stacks: int | None = None
    broken: int | None = None

    def load(self, number: int) -> Any:
        if number == self.broken:
            raise StackUnreadableError("is damaged")
        return Flat(number)


def same(ours: Batch, theirs: Batch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_batch_is_the_same_from_whichever_process_and_step_the_run_began_at(
    spawning: None,
) -> None:
    lanes = [Lane(SOURCE, 4, OPTIONS, 5, lane, 2, start=0) for lane in range(2)]
    expected = [lanes[step % 2].batch(step) for step in range(14)]
    with lane_batches(SOURCE, 4, OPTIONS, 5, range(7, 14)) as stream:
        later = list(stream)
    assert len(later) == 7
    assert all(same(*pair) for pair in zip(later, expected[7:], strict=True))
    assert not same(expected[0], expected[1])


def test_lanes_hold_different_stacks_and_renew_their_own() -> None:
    options = OPTIONS.model_copy(update={"scale_jitter": 0.0, "offset_jitter": 0.0, "batch": 40})
    seen = []
    for number in range(2):
        lane = Lane(Numbered(), 4, options, 5, number, 2, start=0)
        values = [np.unique(lane.batch(step).noisy) for step in range(number, 20, 2)]
        # Two at a time; one is renewed at every other step of the lane.
        assert {len(v) for v in values} == {2}
        seen.append({float(v) for at_step in values for v in at_step})
    assert seen == [{0.0, 2.0, 4.0, 6.0, 8.0, 10.0}, {1.0, 3.0, 5.0, 7.0, 9.0, 11.0}]


def test_of_few_stacks_every_one_is_used_by_one_lane(spawning: None) -> None:
    options = OPTIONS.model_copy(
        update={"scale_jitter": 0.0, "offset_jitter": 0.0, "batch": 20, "lanes": 3}
    )
    with lane_batches(Numbered(stacks=2), 2, options, 5, range(6)) as stream:
        values = [set(np.unique(batch.noisy)) for batch in stream]
    assert values == [{0.0}, {1.0}] * 3


def test_an_error_in_a_lane_is_told_as_it_is(spawning: None) -> None:
    one = OPTIONS.model_copy(update={"lanes": 1})
    with (
        lane_batches(Numbered(broken=2), 4, one, 5, range(9)) as stream,
        pytest.raises(StackUnreadableError, match="is damaged"),
    ):
        list(stream)


@pytest.mark.slow  # a worker killed while it holds the executor's queue hangs the executor: alone
def test_a_killed_lane_is_one_line(spawning: None) -> None:
    before = set(psutil.Process().children(recursive=True))
    with lane_batches(SOURCE, 4, OPTIONS, 5, range(1000)) as stream:
        next(stream)
        lane, *_ = [
            child
            for child in set(psutil.Process().children(recursive=True)) - before
            if "spawn_main" in " ".join(child.cmdline())
        ]
        os.kill(lane.pid, signal.SIGKILL)
        with pytest.raises(TrainingError, match="ended from outside"):
            list(stream)


def test_lanes_divide_what_is_held_and_hold_no_more() -> None:
    options = OPTIONS.model_copy(
        update={"scale_jitter": 0.0, "offset_jitter": 0.0, "batch": 60, "lanes": 2}
    )
    lanes = [Lane(Numbered(stacks=5), 5, options, 5, number, 2, start=0) for number in range(2)]
    seen = [set(np.unique(lanes[step % 2].batch(step).noisy)) for step in range(20)]
    assert all(values == {0.0, 2.0, 4.0} for values in seen[::2])
    assert all(values == {1.0, 3.0} for values in seen[1::2])


@dataclass(frozen=True)
class Slow:
    """Takes for ever."""

    stacks: int | None = None

    def load(self, number: int) -> Any:
        time.sleep(1000 + number)


@pytest.fixture
def ctrl_c_counts() -> Iterator[None]:
    """Shells start what shall run in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signal to a thread")
def test_whoever_stops_does_not_wait_for_stacks_that_are_being_drawn(
    spawning: None, ctrl_c_counts: None
) -> None:
    with lane_batches(Slow(), 4, OPTIONS, 5, range(9)) as stream:
        me = threading.main_thread().ident
        threading.Timer(4, signal.pthread_kill, (me, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            next(stream)
