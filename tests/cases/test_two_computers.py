"""Two computers watch one share: no stack is restored twice, and none is lost."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.support.processes import PATIENCE_S, counts, watching
from tests.support.systems import needs_signals

STACKS = 8


def recorded(folder: Path, count: int = STACKS) -> None:
    rng = np.random.default_rng(1)
    for number in range(count):
        raw = rng.poisson(20, (6, 64, 64)).astype(np.uint16)
        tifffile.imwrite(folder / f"cell_{number:02}.tif", raw, metadata={"axes": "ZYX"})


def restored(state: Path) -> int:
    """Return how many stacks a computer has restored itself, by its log."""
    text = "".join(log.read_text(encoding="utf-8") for log in state.glob("*.log"))
    return len(re.findall(r'"event": "restored"', text))


def finished(state: Path, folder: Path) -> bool:
    return counts(state, folder)["done"] == STACKS


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVE_RESTORE_OUTPUT__SHARED", "true")
    monkeypatch.setenv("LIVE_RESTORE_JOURNAL__LEASE_S", "1")
    monkeypatch.setenv("LIVE_RESTORE_JOURNAL__RETRY_S", "0.2")


def until_both_are_done(first: Path, second: Path, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (finished(first, folder) and finished(second, folder)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@needs_signals
def test_every_stack_is_restored_once(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    recorded(folder)
    flags = ("--device", "cpu", "--plain", "--no-events")
    left, right = tmp_path / "left", tmp_path / "right"
    with watching(left, folder, *flags) as one, watching(right, folder, *flags) as other:
        until_both_are_done(left, right, folder)
        for process in (one, other):
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
    assert restored(left) + restored(right) == STACKS
    results = sorted(path.name for path in (folder / "restored").iterdir())
    assert len(results) == 2 * STACKS, "an image and a report each, and no lease"


def size_of(path: Path) -> int:
    """Return the size of a file, 0 of one that is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@needs_signals
def test_what_a_computer_had_that_died_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    recorded(folder)
    flags = ("--device", "cpu", "--plain", "--no-events")
    left, right = tmp_path / "left", tmp_path / "right"
    with watching(left, folder, *flags) as one:
        deadline = time.monotonic() + PATIENCE_S
        # A torn one says not whose it is: it is waited for a minute, longer than this test.
        while not any(size_of(lease) for lease in folder.glob("restored/.*.lease")):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        one.send_signal(signal.SIGKILL)
        one.wait(PATIENCE_S)
        with watching(right, folder, *flags) as other:
            while not finished(right, folder):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            other.send_signal(signal.SIGTERM)
            other.wait(PATIENCE_S)
    names = {path.name for path in (folder / "restored").iterdir()}
    assert {f"cell_{n:02}.ome.tif" for n in range(STACKS)} <= names
    assert not [name for name in names if name.endswith(".lease")]
