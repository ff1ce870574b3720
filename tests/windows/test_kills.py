"""TerminateProcess at random moments: every stack is restored once, none is partial."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest
import tifffile

from tests.page.runs import spots, write_file
from tests.support.processes import digests, run_command, status, watching

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="tests/faults kills more thoroughly on other systems"
)
_STACKS = 6
_LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(("times", "seed"), [(2, 0), pytest.param(100, 1, marks=_LONG)])
def test_nothing_is_lost_and_nothing_is_partial(tmp_path: Path, times: int, seed: int) -> None:
    state, watched = tmp_path / "state", tmp_path / "data"
    watched.mkdir()
    for number in range(_STACKS):
        write_file(watched / f"{number}.ome.tif", spots(number))
    before = digests(watched)
    rng = random.Random(seed)
    flags = ("--plain", "--device", "cpu")
    for _ in range(times):
        with watching(state, watched, *flags) as daemon:
            time.sleep(rng.uniform(1.0, 6.0))
            daemon.kill()
        for result in (watched / "restored").glob("[0-9].ome.tif"):
            assert tifffile.imread(result).shape == tifffile.imread(watched / result.name).shape
    config = tmp_path / "config.toml"
    config.write_text("[journal]\nmax_attempts = 1000\n")  # what was killed so often is good
    done = run_command(
        state, "watch", watched, "--once", "--retry-failed", "--config", config, *flags[1:]
    )
    assert done.returncode == 0, done.stderr
    assert status(state, watched)["counts"]["done"] == _STACKS
    results = sorted(path.name for path in (watched / "restored").iterdir())
    names = [f"{number}{ending}" for number in range(_STACKS) for ending in (".json", ".ome.tif")]
    assert results == sorted(names)
    assert digests(watched) == before
