"""What a page that plays costs the daemon: two daemons' rates, paired, on a quiet computer.

    python -m tests.page.cost [PAIRS]

A fresh ``watch --once`` restores the same stacks with the bundled network, without and with a page
open in Chromium that plays a finished run of the same computer; in turn, so that whatever else the
computer does falls on both. The browser's own cost is that of any video; it runs at the lowest
priority here, as the page does.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from live_restore.simulation.scene import LivingCell
from tests.page.runs import Recorded, page_process, write_file
from tests.support.processes import run_command

STACKS = 6
SHAPE = (16, 256, 256)


def restored_in_s(folder: Path) -> float:
    """Return how long a daemon takes for the stacks (s)."""
    root = folder / "run"
    root.mkdir(parents=True)
    cell = LivingCell(shape_zyx=SHAPE)
    for number in range(STACKS):
        write_file(root / f"cell_{number:03d}.ome.tif", cell.exposed(number))
    began = time.perf_counter()
    done = run_command(folder / "state", "watch", root, "--once", "--device", "cpu")
    seconds = time.perf_counter() - began
    assert f"{STACKS} restored" in done.stderr, done.stderr
    return seconds


def cpu_s(number: int) -> float:
    """Return the processor time that a process has taken (s)."""
    times = psutil.Process(number).cpu_times()
    return float(times.user + times.system)


@contextmanager
def playing(finished: Recorded) -> Iterator[None]:
    """Let a page play."""
    with page_process(finished) as (server, url), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.locator(".tile img").first.wait_for()
        page.keyboard.press(" ")
        assert page.inner_text("#play") == "Pause"
        for process in psutil.Process().children(recursive=True):
            if "chrom" in process.name():
                process.nice(19)
        began, used = time.perf_counter(), cpu_s(server.pid)
        yield
        share = (cpu_s(server.pid) - used) / (time.perf_counter() - began)
        print(f"the page's process took {share:.1%} of one core")
        browser.close()


def main(pairs: int) -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        restored_in_s(folder / "first")  # warms every cache, and is what is played
        finished = Recorded(folder / "first/run", folder / "first/state", folder)
        ratios = []
        for number in range(pairs):
            alone = restored_in_s(folder / f"alone-{number}")
            with playing(finished):
                beside = restored_in_s(folder / f"beside-{number}")
            ratios.append(beside / alone)
            print(f"alone {alone:.2f} s, beside a page that plays {beside:.2f} s", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} of {pairs} pairs")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
