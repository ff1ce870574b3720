"""The stacks in memory: which is where at a step, whoever draws them, and since when ever."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_restore_export.simulator.simulate import SimulationConfig, simulate_scene
from live_restore_export.training.bank import SubjectBank, number_in_slot
from live_restore_export.training.batches import batches, draw_batch
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.sources import SimulatedSource
from live_restore_export.training.subjects import Scene

from live_restore.errors import TrainingError

SIMULATION = SimulationConfig.model_validate(
    {"shape_zyx": (6, 24, 24), "structures_per_stack": (1, 1)}
)
OPTIONS = TrainingOptions(patch_zyx=(4, 16, 16), batch=2)


@dataclass(frozen=True)
class Numbers:
    """Gives the number itself."""

    stacks: int | None = None

    def load(self, number: int) -> Any:
        return number


def test_shallow_batches_have_fewer_planes_of_the_same_patches() -> None:
    scenes = tuple(SimulatedSource(SIMULATION, 0).load(n) for n in range(2))
    shallow = OPTIONS.model_copy(update={"shallow_share": 1.0})
    depths = set()
    for step in range(12):
        whole, part = (draw_batch(scenes, o, 7, step) for o in (OPTIONS, shallow))
        planes = part.noisy.shape[2]
        depths.add(planes)
        assert part.truth.shape == part.noisy.shape == (2, 1, planes, 16, 16)
        assert any(
            np.array_equal(whole.noisy[:, :, first : first + planes], part.noisy)
            for first in range(5 - planes)
        )
    assert depths >= {1, 2, 4}


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 120))
def test_a_slot_holds_what_its_renewals_one_by_one_put_there(
    slots: int, refresh_steps: int, step: int
) -> None:
    renewed = [0] * slots
    for past in range(1, step + 1):
        if past % refresh_steps == 0:
            renewed[(past // refresh_steps) % slots] += 1
    held = [number_in_slot(k, step, slots, refresh_steps) for k in range(slots)]
    assert held == [k + slots * g for k, g in enumerate(renewed)]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 40))
def test_a_run_that_goes_on_has_the_bank_of_one_that_never_stopped(
    slots: int, refresh_steps: int, stopped_at: int
) -> None:
    whole = SubjectBank(Numbers(), slots, refresh_steps, range(60), 0)
    later = SubjectBank(Numbers(), slots, refresh_steps, range(stopped_at, 60), 0)
    expected = [whole.at(step) for step in range(60)]
    assert [later.at(step) for step in range(stopped_at, 60)] == expected[stopped_at:]


def test_where_all_stacks_are_held_none_is_read_again() -> None:
    bank = SubjectBank(Numbers(stacks=3), 3, 1, range(20), 0)
    assert {bank.at(step) for step in range(20)} == {(0, 1, 2)}


def test_the_seed_of_a_scene_is_that_of_the_run_plus_its_number() -> None:
    scene = SimulatedSource(SIMULATION, 40).load(2)
    assert np.array_equal(scene.signal, simulate_scene(SIMULATION, 42).signal)


def test_it_does_not_matter_which_process_draws(spawning: None) -> None:
    source = SimulatedSource(SIMULATION, 9)
    with (
        closing(SubjectBank(source, 8, 2, range(7), 2)) as many,
        closing(SubjectBank(source, 8, 2, range(7), 0)) as one,
    ):
        for step in range(7):
            for ours, theirs in zip(many.at(step), one.at(step), strict=True):
                signals = [cast(Scene, subject).signal for subject in (ours, theirs)]
                assert np.array_equal(*signals)


def test_a_killed_drawer_is_one_line(spawning: None) -> None:
    before = set(psutil.Process().children(recursive=True))
    with closing(SubjectBank(SimulatedSource(SIMULATION, 9), 2, 3, range(100), 1)) as bank:
        bank.at(3)
        for child in set(psutil.Process().children(recursive=True)) - before:
            if "spawn_main" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(TrainingError, match="ended from outside"):
            bank.at(99)


def test_batches_depend_on_seed_and_step_only() -> None:
    subjects = [SimulatedSource(SIMULATION, 9).load(n) for n in range(2)]
    bank = SubjectBank(SimulatedSource(SIMULATION, 9), 2, 1000, range(3, 9), 0)
    with batches(bank, OPTIONS, 5, range(3, 9), 2) as stream:
        drawn = list(stream)
    assert len(drawn) == 6
    for step, batch in enumerate(drawn, 3):
        again = draw_batch(subjects, OPTIONS, 5, step)
        assert np.array_equal(batch.noisy, again.noisy)
        assert np.array_equal(batch.truth, again.truth)
    assert not np.array_equal(drawn[0].noisy, drawn[1].noisy)
    assert drawn[0].noisy.shape == (2, 1, 4, 16, 16)
