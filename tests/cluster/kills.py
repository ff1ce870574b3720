"""SIGKILL of workers, scheduler and daemon while stacks arrive: nothing lost, doubled, partial.

    python -m tests.cluster.kills --kills 50 --stacks 200 --workers 4
    python -m tests.cluster.kills --archive

Whoever is killed is started again at once. At the end every raw file must have one result, whole,
and equal to the bit to what this process makes of it without any of them. With ``--archive`` all
stacks are there from the beginning, and the workers publish them by themselves.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import tifffile

from live_restore.inference.model_set import ModelSet
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from tests.support.cluster import Started, a_scheduler, free_address
from tests.support.processes import PATIENCE_S

SHAPE = (8, 96, 96)
# Kills come every other second; three of them in a row must not look like the fault of a stack.
_SETTINGS = """\
[journal]
max_attempts = 20
retry_s = 0.5
lease_s = 5
[cluster]
timeout_s = 3
[output]
shared = true
"""


@dataclass
class Figures:
    """What was seen; everything but kills, stacks and seconds must be 0."""

    stacks: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    partial: int = 0
    different: int = 0
    left_over: int = 0
    seconds: float = 0.0

    @property
    def harm(self) -> int:
        """How much went wrong."""
        return self.lost + self.doubled + self.partial + self.different + self.left_over


class Killed:
    """A process that is started again whenever it was killed."""

    def __init__(self, name: str, start: Callable[[], Started]) -> None:
        self.name = name
        self._start = start
        self.started = start()

    def kill(self) -> None:
        """Kill it, and start it again."""
        self.started.kill()
        self.started = self._start()


def run(
    folder: Path, kills: int, stacks: int, workers: int, seed: int, *, archive: bool = False
) -> Figures:
    """Let stacks arrive while everybody is killed; return what became of them."""
    chance, began = random.Random(seed), time.monotonic()
    raw, address = folder / "raw", free_address()
    raw.mkdir(parents=True)
    results = raw / "restored"
    watch = ("watch", str(raw), "--plain", "--device", address)
    if archive:
        watch = ("restore", str(raw), "--cluster", address)
    work = ("worker", "--scheduler", address, "--device", "cpu")
    for who in ("daemon", "worker"):
        (folder / who).mkdir()
        (folder / who / "config.toml").write_text(_SETTINGS, encoding="utf-8")
    cell = LivingCell(shape_zyx=SHAPE)

    def record(number: int) -> None:
        part = raw / f".{number}.part"
        tifffile.imwrite(part, cell.exposed(number), metadata={"axes": "ZYX"})
        part.rename(raw / f"cell_{number:03}.tif")

    for number in range(stacks if archive else 0):
        record(number)
    people = [
        Killed("scheduler", lambda: a_scheduler(folder / "scheduler", address)),
        *(Killed("worker", lambda: Started(folder / "worker", *work)) for _ in range(workers)),
        Killed("daemon", lambda: Started(folder / "daemon", *watch)),
    ]
    figures = Figures(stacks)
    try:
        at = sorted(chance.sample(range(stacks * 4), min(kills, stacks * 4)))
        for step in range(stacks * 4):
            if archive:  # as far as it has come: a kill at the end would harm nobody
                if step in at:
                    _wait_for(results, step // 4)
            elif step % 4 == 0:
                record(step // 4)
            if step in at:
                victim = chance.choice(people)
                victim.kill()
                figures.kills[victim.name] = figures.kills.get(victim.name, 0) + 1
            time.sleep(0.0 if archive and step not in at else chance.uniform(0, 0.2))
        _wait_for(results, stacks)
        time.sleep(1.0)  # the last outcome is recorded
    finally:
        for each in people:
            each.started.kill()
    _audit(raw, figures)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _wait_for(results: Path, count: int) -> None:
    """Wait until there are so many results, or until there never will be."""
    deadline = time.monotonic() + PATIENCE_S + count
    while len(list(results.glob("*.json"))) < count and time.monotonic() < deadline:
        time.sleep(0.1)


def _audit(raw: Path, figures: Figures) -> None:
    models = ModelSet.load(load_settings(None, {"inference": {"device": "cpu", "threads": 1}}))
    restorer = models.rules[0][1]
    assert restorer is not None
    expected = set()
    for path in sorted(raw.glob("*.tif")):
        image = raw / "restored" / f"{path.stem}.ome.tif"
        expected |= {image.name, f"{path.stem}.json"}
        if not image.exists() or not image.with_name(f"{path.stem}.json").exists():
            figures.lost += 1
            continue
        try:
            json.loads(image.with_name(f"{path.stem}.json").read_text(encoding="utf-8"))
            found = tifffile.imread(image)
        except (ValueError, OSError):
            figures.partial += 1
            continue
        here = restorer.restore(tifffile.imread(path)).volume
        figures.different += not np.array_equal(found, here)
    names = {path.name for path in (raw / "restored").iterdir()}
    others = names - expected
    figures.doubled += sum(not name.startswith(".") for name in others)
    # What the last kill left half-written goes with the next start; it is hidden until then.
    figures.left_over += sum(name.endswith(".lease") for name in others)


def main() -> int:
    """Run with what the command line says, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--stacks", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument("--archive", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(
            Path(folder), given.kills, given.stacks, given.workers, given.seed,
            archive=given.archive,
        )  # fmt: skip
    print(json.dumps(asdict(figures), indent=1))
    return 1 if figures.harm else 0


if __name__ == "__main__":
    raise SystemExit(main())
