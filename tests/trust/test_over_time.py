"""A time-lapse keeps its brightness and sharpness; a jump that the raw stacks lack is a doubt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.job import RawStack
from live_restore.inference.image.flux import Flux
from live_restore.stack import FileStacks, Fingerprint, StackIndex
from live_restore.trust import over_time
from live_restore.trust.over_time import Moment, TimeLapses, jumps
from live_restore.trust.sharpness import Sharpness
from live_restore.trust.stack_trust import StackTrust
from tests.support.fakes import a_dataset, fake_shelf

STEADY = [Moment(t, (0.97, 0.01), (0.8, 0.02)) for t in range(6)]


def stacks(path: str, times: int = 1) -> FileStacks:
    return FileStacks(Path(path), Fingerprint(1, 1), 1, times, 1, (4, 8, 8), np.dtype(np.uint16))


def trust(bias_percent: float | None, sharp: float = 0.8) -> StackTrust:
    flux = Flux(bias_percent, None if bias_percent is None else 1.0)
    return StackTrust(0, {}, None, flux=flux, sharpness=Sharpness(1.0, sharp, 0.02))


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Moment(6, (0.96, 0.01), (0.81, 0.02)), []),
        (Moment(6, (0.85, 0.01), (0.8, 0.02)), ["brightness jumps: 12 % dimmer"]),
        (Moment(6, (1.1, 0.01), (0.4, 0.02)),
         ["brightness jumps: 13 % brighter", "sharpness jumps: 50 % less sharp"]),
        (Moment(6, (0.85, 0.2), None), []),
        (Moment(6), []),
    ],
)  # fmt: skip
def test_a_jump_is_a_doubt(now: Moment, words: list[str]) -> None:
    found = jumps(STEADY, now)
    assert len(found) == len(words)
    assert all(word in doubt for word, doubt in zip(words, found, strict=True))


def test_of_few_time_points_and_of_later_ones_nothing_can_be_told() -> None:
    jump = Moment(6, (0.5, 0.01))
    assert jumps(STEADY, jump)
    assert not jumps(STEADY[:2], jump)
    assert not jumps([replace(moment, time=moment.time + 10) for moment in STEADY], jump)


def test_a_drift_is_no_jump() -> None:
    drift = [Moment(t, (1 - 0.01 * t, 0.005)) for t in range(20)]
    assert not any(jumps(drift[:t], drift[t]) for t in range(20))


@pytest.mark.parametrize(
    "place",
    [
        lambda t: (stacks("run_1/" + StackIndex(2, t, 1).label), StackIndex()),
        lambda t: (stacks("cell.tif", times=9), StackIndex(0, t, 0)),
    ],
)
def test_stacks_of_an_acquisition_and_of_a_file_are_time_lapses(place: object) -> None:
    lapses = TimeLapses()
    assert callable(place)
    found = [lapses.judged(*place(t), trust(-3.0 if t != 5 else -20.0)) for t in range(9)]
    assert [bool(each.doubts) for each in found] == [t == 5 for t in range(9)]


def test_files_of_one_time_point_are_none_and_positions_are_apart() -> None:
    lapses = TimeLapses()
    for t in range(6):
        assert not lapses.judged(stacks(f"cell_{t}.tif"), StackIndex(), trust(-3.0)).doubts
    assert not lapses.judged(stacks("cell_6.tif"), StackIndex(), trust(-30.0)).doubts
    many = stacks("plate.tif", times=9)
    for t in range(6):
        lapses.judged(many, StackIndex(0, t, 0), trust(-3.0))
    assert not lapses.judged(many, StackIndex(1, 6, 0), trust(-30.0)).doubts
    assert lapses.judged(many, StackIndex(0, 6, 0), trust(-30.0)).doubts
    assert not lapses.judged(many, StackIndex(0, 7, 0), trust(None)).doubts


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_time, "_MOST_SERIES", 2)
    lapses = TimeLapses()
    for path in "abc":
        for t in range(4):
            lapses.judged(stacks(path, times=9), StackIndex(0, t, 0), trust(-3.0))
    jumped = {
        path: bool(lapses.judged(stacks(path, times=9), StackIndex(0, 5, 0), trust(-30.0)).doubts)
        for path in "cba"
    }
    assert jumped == {"c": True, "b": True, "a": False}


def test_a_jump_that_the_raw_stacks_of_a_time_lapse_lack_is_a_doubt() -> None:
    shape = (8, 64, 64)
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(shape), 4)
    light = 40 * (smooth - smooth.min()) / np.ptp(smooth)
    kept = [1.0]
    model_set = fake_shelf(lambda tile: tile * np.float32(kept[0]))
    dataset = a_dataset(times=8, shape_zyx=shape)
    groups = ChannelGroups(dataset, model_set)
    jumped = []
    for time in range(8):
        kept[0] = 0.7 if time == 5 else 1.0
        raw = (100 + 2 * np.random.default_rng(time).poisson(light)).astype(np.uint16)
        (stack,) = groups.feed(RawStack(StackIndex(0, time, 0), raw, 0.0))
        jumped.append(any("jumps" in doubt for doubt in stack.trust.doubts))
    assert jumped == [time == 5 for time in range(8)]
