"""Trying a GPU's forms over several starts: what is tried when, and what is held against whom."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.errors import DeviceMemoryError, RuntimeFailureError
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.session import Floats, Shape5
from live_restore.inference.device import forms, measure
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import Checker
from live_restore.inference.device.choice import ChosenSession, DeviceRequest, candidates
from live_restore.inference.device.forms import FormTrials
from live_restore.inference.device.opening import Opener
from live_restore.testing.fakes import FakeBackend, FakeFormsBackend, FakeSession, halve
from tests.inference.test_forms import CARD, SOURCE, STACK, form, ran


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_MEASURING_S", 0.03)
    monkeypatch.setattr(forms, "_MEASURING_S", 0.015)
    monkeypatch.setattr(forms, "_TILES_ZYX", ((16, 128, 128), (16, 96, 96)))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the GPU's free memory (MiB), in a list, so that a test can change it."""
    mib = [8000]
    monkeypatch.setattr(forms, "nvidia_gpu", lambda _: ("card", mib[0] << 20))
    return mib


class Starts:
    """Starts one after the other, on a clock that stands still between trials."""

    def __init__(self, folder: Path, others: dict[str, FakeBackend]) -> None:
        self.now = 0.0
        self.cache = DeviceCache(folder / "backends.json")
        self._backend = FakeFormsBackend("cuda", others)

    def start(self) -> tuple[FormTrials, dict[str, str]]:
        """Return the trials of a new process, and what they said of each form that is not used."""
        trusted = FakeBackend("cpu").open(SOURCE, STACK, "fp32", 0, Limits())
        opener = Opener(SOURCE, CARD, trusted)
        checker = Checker(opener, self.cache)
        trials = FormTrials(opener, checker, self.cache, lambda: self.now)
        variants = candidates(DeviceRequest("cuda"), CARD, [self._backend]).variants
        return trials, {v.form: error.what for v, error in trials.run(variants).items()}

    def slow(self, seconds: float, function: Callable[[Floats], Floats] = halve) -> FakeBackend:
        """Return a form for which a tile of full size takes so long."""

        def run(tile: Floats) -> Floats:
            self.now += seconds if tile.size > 100_000 else 0
            return function(tile)

        return form(run, 0.02)


def hungry(free: list[int], voxels: int) -> Callable[[Floats], Floats]:
    """Return what needs 12,000 MiB that are free for tiles of more than so many voxels."""

    def run(tile: Floats) -> Floats:
        if tile.size > voxels and free[0] < 12000:
            raise DeviceMemoryError("out of memory")
        return halve(tile)

    return run


NOT_YET = "not tried yet: time was up; the next start goes on"


def test_what_was_not_reached_is_tried_at_the_next_starts_a_part_at_each(tmp_path: Path) -> None:
    others: dict[str, FakeBackend] = {}
    starts = Starts(tmp_path, others)
    others |= {name: starts.slow(31 if name < "c" else 4) for name in "abcdef"}
    seen = [starts.start()[1] for _ in range(4)]
    assert [sorted(each) for each in seen] == [list("bcdef"), list("cdef"), list("ef"), []]
    assert set(seen[0].values()) == {NOT_YET}
    counts = [len(other.opened) for other in others.values()]
    starts.start()
    assert [len(other.opened) for other in others.values()] == counts, "each is tried once"


def test_where_the_ordinary_ones_take_all_the_time_the_next_starts_go_on(tmp_path: Path) -> None:
    others = {"a": form(), "b": form()}
    starts = Starts(tmp_path, others)
    ordinary = starts.slow(100)
    starts._backend._function = ordinary._function
    assert starts.start()[1] == {"a": NOT_YET, "b": NOT_YET}
    assert starts.start()[1] == {}


def test_what_was_short_of_memory_is_tried_again_when_more_is_free(
    tmp_path: Path, free: list[int]
) -> None:
    run = hungry(free, 100_000)
    others = {"hungry": form(run), "modest": form()}
    starts = Starts(tmp_path, others)
    assert starts.start()[1] == {"hungry": "out of memory"}
    opened = len(others["hungry"].opened)
    for megabytes in (8000, 4000, 9000):
        free[0] = megabytes
        assert starts.start()[1] == {"hungry": "out of memory"}
    assert len(others["hungry"].opened) == opened, "no start pays for it again"
    assert len(others["modest"].opened) == 2
    free[0] = 16000
    assert starts.start()[1] == {}
    assert len(others["modest"].opened) == 2


def test_a_large_tile_is_tried_again_when_more_memory_is_free(
    tmp_path: Path, free: list[int]
) -> None:
    run = hungry(free, 200_000)
    starts = Starts(tmp_path, {"a": form(run)})
    starts._backend._function = run
    assert starts.start()[0].tried.tile_zyx == (16, 96, 96)
    assert starts.start()[0].tried.tile_zyx == (16, 96, 96)
    free[0] = 16000
    assert starts.start()[0].tried.tile_zyx == (16, 128, 128)


def test_memory_that_was_short_counts_as_it_was_then(tmp_path: Path, free: list[int]) -> None:
    free[0] = 40_000
    run = hungry(free, 100_000)
    others: dict[str, FakeBackend] = {}
    starts = Starts(tmp_path, others)
    others |= {"a": starts.slow(61), "hungry": form(run)}
    assert starts.start()[1] == {"hungry": NOT_YET}
    for free[0] in (4000, 4900, 6000, 7400):
        assert starts.start()[1] == {"hungry": "out of memory"}
    assert len(others["hungry"].opened) == 4, "a small tile and a large one, at 4000 and at 6000"
    free[0] = 40_000
    assert starts.start()[1] == {}


@pytest.mark.parametrize("now", [0, 4000])
def test_where_free_memory_is_unknown_what_was_short_is_tried_at_each_start_after_all_others(
    tmp_path: Path, free: list[int], now: int
) -> None:
    free[0], short = 0, [True]

    def run(tile: Floats) -> Floats:
        if short[0] and tile.size > 100_000:
            raise DeviceMemoryError("out of memory")
        return halve(tile)

    others: dict[str, FakeBackend] = {}
    starts = Starts(tmp_path, others)
    others |= {"hungry": starts.slow(40, run), "b": starts.slow(40), "c": starts.slow(40)}
    assert starts.start()[1] == {"hungry": "out of memory", "c": NOT_YET}
    short[0] = False
    assert starts.start()[1] == {"hungry": "out of memory"}, "there was time for one, and c was it"
    free[0] = now
    assert starts.start()[1] == {}


class Context:
    """A driver's context that a form may break for all; a new process has a new one."""

    def __init__(self) -> None:
        self.broken = False

    def run(self, tile: Floats, *, breaks: bool = False) -> Floats:
        self.broken = self.broken or (breaks and tile.size > 100_000)
        if self.broken:
            raise RuntimeFailureError("CUDA error 700")
        return halve(tile)


def test_a_form_that_breaks_the_context_condemns_itself_alone(tmp_path: Path) -> None:
    context = Context()
    others = {
        "a": form(context.run),
        "breaks": form(lambda tile: context.run(tile, breaks=True)),
        "c": form(context.run),
    }
    starts = Starts(tmp_path, others)
    starts._backend._function = context.run
    why = (
        "the GPU failed while cuda fp16 (breaks) was tried (CUDA error 700); the next start goes on"
    )
    assert starts.start()[1] == {"breaks": why, "c": why}
    assert others["c"].opened == [], "nobody asks a GPU that is gone"
    context.broken = False
    ended = "the process ended or the GPU failed 2 times while it was tried"
    assert starts.start()[1] == {"breaks": ended, "c": why}
    context.broken = False
    trials, said = starts.start()
    assert said == {"breaks": ended}
    assert "(c)" in str(trials.tried)


def test_an_ordinary_way_that_breaks_the_context_is_not_held_against_the_forms(
    tmp_path: Path,
) -> None:
    context = Context()
    others = {"a": form(context.run)}
    starts = Starts(tmp_path, others)
    backend = starts._backend = TwoWays(others, lambda tile: context.run(tile, breaks=True))
    backend._function = context.run
    for _ in range(2):
        starts.start()
        assert all("(a)" not in name for name in kept_forms(tmp_path)["ended"])
        context.broken = False
    assert "(a)" in str(starts.start()[0].tried)


def kept_forms(folder: Path) -> dict[str, Any]:
    """Return what the cache holds of forms."""
    table = json.loads((folder / "backends.json").read_text())
    (found,) = (entry for key, entry in table.items() if key.startswith("forms"))
    return dict(found)


class TwoWays(FakeFormsBackend):
    """With an ordinary way of less than float32 that goes its own way."""

    def __init__(self, others: dict[str, FakeBackend], half: Callable[[Floats], Floats]) -> None:
        super().__init__("cuda", others, 0.03)
        self.half = half

    def precisions(self) -> tuple[str, ...]:
        return ("fp32", "fp16")

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> FakeSession:
        session = super().open(source, shape, precision, index, limits)
        if precision == "fp16":
            session.function = self.half
        return session


def test_an_ordinary_way_whose_numbers_are_wrong_is_warned_about(tmp_path: Path) -> None:
    for _ in range(2):  # tried; remembered
        cpu = FakeBackend("cpu", seconds=0.05)
        trusted = cpu.open(SOURCE, STACK, "fp32", 0, Limits())
        backend = TwoWays({"a": form()}, lambda tile: tile * np.float32(0.4))
        cache = DeviceCache(tmp_path / "backends.json")
        session = ChosenSession(SOURCE, CARD, trusted, DeviceRequest(), [backend, cpu], cache)
        assert ran(session) == "fp16 a"
        assert "cuda fp16 is not used: it computes wrong numbers" in session.device.warning
        assert "not used: cuda fp16: it computes wrong numbers" in session.device.reason


def test_an_ordinary_way_that_failed_once_is_tried_at_the_next_start(tmp_path: Path) -> None:
    def fails(_: Floats) -> Floats:
        raise RuntimeFailureError("the driver was busy")

    starts = Starts(tmp_path, {"a": form()})
    backend = starts._backend = TwoWays({"a": form()}, fails)
    for _ in range(2):
        assert starts.start()[1] == {"": "the driver was busy"}
    backend.half = halve
    assert starts.start()[1] == {}


_KILLS = """
import os, sys
from pathlib import Path
from tests.inference import test_form_trials as trials

def run(tile):
    print("trying", flush=True)
    if sys.argv[2] == "waits":
        sys.stdin.read()
        return tile / 2
    os._exit(9)

trials.forms._TILES_ZYX = ((16, 32, 32),)
trials.forms._MEASURING_S = 0.01
trials.Starts(Path(sys.argv[1]), {"a": trials.form(run), "b": trials.form()}).start()
"""


def trying(folder: Path, what: str) -> subprocess.Popen[bytes]:
    """Return a process that is trying a form."""
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLS, str(folder), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"trying"
    return process


def test_a_form_that_ends_the_process_is_refused_after_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_TILES_ZYX", ((16, 32, 32),))
    for _ in range(2):
        with trying(tmp_path, "ends") as process:
            assert process.wait(10) == 9
    for _ in range(2):
        trials, said = Starts(tmp_path, {"a": form(), "b": form()}).start()
        assert said == {"a": "the process ended or the GPU failed 2 times while it was tried"}
        assert any("(b)" in name for name in trials.tried.mvoxel_per_s)


def test_processes_that_try_a_form_at_the_same_time_do_not_count_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_TILES_ZYX", ((16, 32, 32),))
    with trying(tmp_path, "waits") as one, trying(tmp_path, "waits") as other:
        others = {"a": form(), "b": form()}
        assert Starts(tmp_path, others).start()[1] == {}
        assert others["a"].opened, "tried here as well"
        for process in (one, other):
            process.communicate(b"", 10)
    assert Starts(tmp_path, {"a": form(), "b": form()}).start()[1] == {}


def test_who_stops_the_program_is_not_held_against_a_form(tmp_path: Path) -> None:
    stop = [True]

    def run(tile: Floats) -> Floats:
        if stop[0]:
            raise KeyboardInterrupt
        return halve(tile)

    starts = Starts(tmp_path, {"a": form(run)})
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            starts.start()
    stop[0] = False
    assert starts.start()[1] == {}
