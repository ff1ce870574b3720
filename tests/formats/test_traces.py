"""Every recorded acquisition, replayed: what is called complete is what is true at that step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from live_restore.formats.acquisition_format import AcquisitionState, Follower
from live_restore.stack import StackIndex, VoxelSize
from tests.support.processes import PATIENCE_S
from tests.support.traces import TRACES, WITHOUT_PLAN, Recording, recording


def complete(state: AcquisitionState) -> set[StackIndex]:
    return {key for key, evidence in state.stacks.items() if evidence.complete}


def partial(state: AcquisitionState) -> set[StackIndex]:
    return {key for key, evidence in state.stacks.items() if evidence.partial}


def check(truth: Recording, state: AcquisitionState, step: int) -> None:
    """Compare a state with the truth at a step."""
    at = f"{truth.name} step {step}"
    assert not state.problems, at
    present = {key: evidence.present for key, evidence in state.stacks.items()}
    assert present == truth.present_at(step), at
    assert not any(evidence.blank for evidence in state.stacks.values()), at
    if truth.name in WITHOUT_PLAN and not state.ended:
        assert complete(state) <= truth.complete_at(step), at
        begun = sorted(truth.present_at(step), key=lambda p: truth.stacks[p].plane_steps[0])
        assert complete(state) == set(begun[:-1]), at
    else:
        assert complete(state) == truth.complete_at(step), at
    aborted = {p for p, s in truth.stacks.items() if s.state == "partial"}
    assert partial(state) == (aborted if state.ended else set()), at
    for key, evidence in state.stacks.items():
        if evidence.complete:
            assert tuple(evidence.expected or ()) == truth.stacks[key].expected, at
            assert evidence.planes_expected == len(evidence.expected), at
            assert not evidence.may_change, at


def check_pixels(truth: Recording, follower: Follower, keys: list[StackIndex]) -> None:
    """Compare stacks with what was written."""
    for key in keys:
        volume = follower.read(key)
        expected = truth.stacks[key].pixels
        assert expected is not None
        assert volume.dtype == np.uint16
        np.testing.assert_array_equal(volume, expected, strict=True, err_msg=f"{truth.name} {key}")


def follow_along(truth: Recording, root: Path, steps: list[int]) -> None:
    """Poll one follower along the replay, and a fresh one at each step."""
    follower: Follower | None = None
    seen: set[StackIndex] = set()
    ended = False
    for step in truth.replay(root, steps):
        fresh = truth.follower(root)
        follower = follower or fresh
        if follower is None or fresh is None:
            assert not truth.present_at(step)
            continue
        state, anew = follower.poll(), fresh.poll()
        check(truth, state, step)
        check(truth, anew, step)
        assert dict(state.stacks) == dict(anew.stacks)
        new = [key for key, e in state.stacks.items() if e.complete and key not in seen]
        check_pixels(truth, follower, new)
        check_pixels(truth, fresh, new[:1])
        seen |= set(new)
        assert not (ended and not state.ended), "a run that had ended goes on"
        ended = state.ended is True
    assert ended
    assert follower is not None
    check_pixels(truth, follower, list(follower.poll().stacks))


@pytest.mark.parametrize("name", TRACES)
def test_what_is_complete_is_what_is_true(shared_data: Path, tmp_path: Path, name: str) -> None:
    truth = recording(shared_data, name)
    follow_along(truth, tmp_path, truth.interesting_steps(seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACES)
def test_at_every_single_step(shared_data: Path, tmp_path: Path, name: str) -> None:
    truth = recording(shared_data, name)
    follow_along(truth, tmp_path, list(range(len(truth) + 1)))


@pytest.mark.parametrize("name", TRACES)
def test_what_the_run_says_about_itself(shared_data: Path, tmp_path: Path, name: str) -> None:
    truth = recording(shared_data, name)
    list(truth.replay(tmp_path, []))
    follower = truth.follower(tmp_path)
    assert follower is not None
    info = follower.poll().info
    assert info.name == truth.folder_name
    assert info.channel_names == tuple(truth.acquisition["channels"])
    assert (info.shape_yx, info.dtype) == ((48, 64), np.uint16)
    assert info.voxel == VoxelSize(0.5, 1.0, 1.0)
    assert info.exposure_ms == (10.0, 10.0)
    if name not in WITHOUT_PLAN:
        assert info.time_increment_s == 2.0
        assert info.stacks_planned == len(truth.stacks)
    assert [info.position_name(p) for p in (0, 1)] == (
        ["0", "1"] if name.startswith("py") else ["Pos0", "Pos1"]
    )


@pytest.mark.parametrize("speed", ["inf", pytest.param("20", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TRACES)
def test_beside_a_writer_in_another_process(
    shared_data: Path, tmp_path: Path, name: str, speed: str
) -> None:
    truth = recording(shared_data, name)
    command = [sys.executable, "-B", str(truth.replayer_path), str(truth.trace_path)]
    with subprocess.Popen(
        [*command, str(tmp_path), "--speed", speed],
        stdout=subprocess.DEVNULL,
    ) as writer:
        follower: Follower | None = None
        seen: set[StackIndex] = set()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < deadline
            over = writer.poll() is not None
            follower = follower or truth.follower(tmp_path)
            if follower is not None:
                state = follower.poll()
                new = [key for key, e in state.stacks.items() if e.complete]
                # Read at once: a stack that is named too early has not got its pixels yet.
                check_pixels(truth, follower, [key for key in new if key not in seen])
                seen |= set(new)
            if over:
                break
            time.sleep(0.002)
    assert writer.returncode == 0
    assert follower is not None
    check(truth, follower.poll(), len(truth))
    assert seen == truth.complete_at(len(truth))


@pytest.mark.parametrize("name", TRACES)
def test_a_writer_that_was_killed_leaves_partial_stacks(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    """No end marker ever comes; the caller says that the run is over."""
    truth = recording(shared_data, name)
    begun = [s for s in truth.stacks.values() if len(s.plane_steps) > 2]
    victim = max(begun, key=lambda s: min(s.plane_steps.values()))
    step = sorted(victim.plane_steps.values())[1]
    list(truth.replay(tmp_path, [])) if step >= len(truth) else truth.trace.replay(
        tmp_path, until=step
    )
    follower = truth.follower(tmp_path)
    assert follower is not None
    before = follower.poll()
    assert not before.ended
    assert not partial(before)
    after = follower.poll(over=True)
    assert partial(after) == {victim.stack_index}
    assert complete(after) == truth.complete_at(step)
    assert complete(follower.poll()) == complete(before)


def test_nothing_is_opened_for_writing_or_kept_open(shared_data: Path, tmp_path: Path) -> None:
    for name in TRACES:
        truth = recording(shared_data, name)
        root = tmp_path / name
        list(truth.replay(root, []))
        files = sorted(p for p in root.rglob("*") if p.is_file())
        for path in files:
            path.chmod(0o444)
        before = [(p, p.stat().st_mtime_ns, p.stat().st_size) for p in files]
        follower = truth.follower(root)
        assert follower is not None
        state = follower.poll()
        follower.read(next(iter(state.stacks)))
        descriptors = Path("/proc/self/fd")
        if descriptors.is_dir():
            opened = [os.path.realpath(descriptor) for descriptor in descriptors.iterdir()]
            assert not [path for path in opened if path.startswith(str(root))]
        assert before == [(p, p.stat().st_mtime_ns, p.stat().st_size) for p in files]
