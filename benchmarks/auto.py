"""Did what ``auto`` takes become slower? Two checkouts restore the same stacks, in turns.

    python benchmarks/auto.py --old ../before [--starts 3] [--rounds 5] [--hide openvino]
        [--stack fast:32,512,512 --stack standard:16,256,256]

Each checkout is a process of its own that measures, chooses, and restores the stack once before it
waits for its turns; who is first changes from round to round. Both are started several times: two
processes of the same code need not be equally fast. What a checkout remembers of devices is its
own. Told is the ratio of the rates of each round, new over old, so that the new one is faster above
1. ``--hide`` makes a runtime look as if it were not installed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from programs import Process

_HERE = Path(__file__).parent


def serve(model: str, stack: Path, hidden: str) -> None:
    """Be such a process: print what was chosen, then, for every line that is read, seconds."""
    if hidden:
        sys.modules[hidden] = None  # type: ignore[assignment]
    from live_restore.inference.load import find_model, load_model
    from live_restore.inference.restorer import Restorer
    from live_restore.settings.model import InferenceSettings

    raw = np.load(stack)
    restorer = Restorer(load_model(find_model(model)), InferenceSettings())
    first = restorer.restore(raw)
    device = restorer.model.session.device
    tile = "x".join(map(str, first.tile_zyx))
    print(f"{device.name} {device.precision}, {first.tile_count} of {tile}", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        restorer.restore(raw)
        print(time.perf_counter() - began, flush=True)


def started(command: list[str], old: Path, place: Path) -> tuple[Process, Process]:
    """Return the processes of both checkouts, warm."""
    found = []
    for name, checkout in (("old", old), ("new", _HERE.parent)):
        own = {"PYTHONPATH": str(checkout.resolve()), "XDG_STATE_HOME": str(place / name)}
        process = Process(name, command, {**os.environ, **own})
        if not process.runs:
            raise SystemExit(f"{name}: {process.end()}")
        found.append(process)
    return found[0], found[1]


def compare(model: str, shape: tuple[int, ...], arguments: argparse.Namespace) -> str:
    """Return a row of the table."""
    light = 30 + 170 * np.sin(np.arange(shape[-1]) / 9) ** 2
    raw = np.random.default_rng(0).poisson(np.broadcast_to(light, shape)).astype(np.uint16)
    before: list[float] = []
    now: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.save(place / "stack.npy", raw)
        command = [sys.executable, __file__, "--serve", model, str(place / "stack.npy")]
        for _ in range(arguments.starts):
            old, new = started([*command, arguments.hide], arguments.old, place)
            for number in range(arguments.rounds):
                for each in (old, new) if number % 2 else (new, old):
                    each.turn()
            old.end()
            new.end()
            before += old.seconds
            now += new.seconds
    low, middle, high = statistics.quantiles(
        (a / b for a, b in zip(before, now, strict=True)), n=4, method="inclusive"
    )
    rates = (raw.size / statistics.median(seconds) / 1e6 for seconds in (before, now))
    shown = " | ".join(f"{rate:.3f}" for rate in rates)
    return (
        f"| {model} | {' x '.join(map(str, shape))} | {old.told} | {new.told} | {shown} "
        f"| {middle:.3f} | {low:.3f} to {high:.3f} |"
    )


def main() -> None:
    """Compare and print a table; or, as a process of that, serve."""
    if sys.argv[1:2] == ["--serve"]:
        model, stack, hidden = sys.argv[2:]
        serve(model, Path(stack), hidden)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, required=True, help="another checkout")
    parser.add_argument("--stack", action="append", default=[], metavar="MODEL:Z,Y,X")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hide", default="", metavar="PACKAGE")
    arguments = parser.parse_args()
    print("| model | stack | old | new | old, Mvoxel/s | new | new over old | quartiles |")
    print("|---|---|---|---|---:|---:|---:|---|")
    for stack in arguments.stack or ["fast:32,512,512", "standard:16,256,256"]:
        model, _, shape = stack.partition(":")
        print(compare(model, tuple(map(int, shape.split(","))), arguments), flush=True)


if __name__ == "__main__":
    main()
