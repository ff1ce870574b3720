"""What a page that plays costs the daemon: two daemons' rates, paired, on a quiet computer.

    python -m tests.page.cost [PAIRS]
    python -m tests.page.cost [PAIRS] --elsewhere
    python -m tests.page.cost [PAIRS] --besieged

A ``watch --once`` restores the same new stacks with the bundled network, without and with a page of
that run open in Chromium, which plays what was restored before; in turn, so that whatever else the
computer does falls on both. ``--elsewhere``: in place of the browser, what a page on another
computer that plays asks for, five times a second. ``--besieged``: 20 pages that listen, one of them
deaf, and one that asks without end. Those two run when nobody else wants the processor, as the work
of another computer would cost nothing here; the browser runs as a person starts it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from live_restore.journal.view import JournalView
from live_restore.simulation.scene import LivingCell
from tests.page.runs import Recorded, page_process, write_file
from tests.support.processes import run_command

STACKS = 12
SHAPE = (16, 256, 256)
Look = Callable[[Recorded], AbstractContextManager[None]]


def restore(run: Recorded) -> float:
    """Let a daemon restore what is new, and return how long it takes for a stack (s).

    Counted is from the first result to the last: its start and its end, which wait for quiet, would
    add up to half a second of chance.
    """
    began = time.time()
    done = run_command(run.state, "watch", run.root, "--once", "--device", "cpu")
    assert f"{STACKS} restored" in done.stderr, done.stderr
    with JournalView(run.journal, run.root) as journal:
        ends = sorted(e.finished_at for e in journal.entries() if (e.finished_at or 0.0) > began)
    return float(ends[-1] - ends[0]) / (len(ends) - 1)


def record(folder: Path) -> None:
    """Write the stacks that are to be restored."""
    folder.mkdir(parents=True, exist_ok=True)
    cell = LivingCell(shape_zyx=SHAPE)
    for number in range(STACKS):
        write_file(folder / f"cell_{number:03d}.ome.tif", cell.exposed(number))


def s_per_stack(folder: Path, earlier: Path, look: Look) -> float:
    """Return how long a stack takes (s) in a run that has restored some already.

    Parameters
    ----------
    folder
        A new one, for this run.
    earlier
        Raw stacks with their results: they are found done.
    look
        Lets somebody look at the run meanwhile.
    """
    run = Recorded(folder / "run", folder / "state", folder)
    shutil.copytree(earlier, run.root / "earlier")
    done = run_command(run.state, "watch", run.root, "--once", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    record(run.root / "now")
    with look(run):
        return restore(run)


def cpu_s(processes: list[psutil.Process]) -> float:
    """Return the processor time that processes have taken (s)."""
    times = [process.cpu_times() for process in processes if process.is_running()]
    return float(sum(each.user + each.system for each in times))


@contextmanager
def cost_of(what: str, processes: list[psutil.Process]) -> Iterator[None]:
    """Print what processes take meanwhile."""
    began, used = time.perf_counter(), cpu_s(processes)
    yield
    share = (cpu_s(processes) - used) / (time.perf_counter() - began)
    print(f"{what} took {share:.1%} of one core")


@contextmanager
def playing(run: Recorded) -> Iterator[None]:
    """Let a page play."""
    with page_process(run) as (server, url), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.locator(".tile img").first.wait_for()
        page.keyboard.press(" ")
        assert page.inner_text("#play") == "Pause"
        family = psutil.Process().children(recursive=True)
        browsers = [process for process in family if "chrom" in process.name()]
        with (
            cost_of("the page's process", [psutil.Process(server.pid)]),
            cost_of("the browser", browsers),
        ):
            yield
        browser.close()


_VIEWER = """
import itertools, json, os, sys, time, urllib.request
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
url = sys.argv[1]
def fetched(what):
    return urllib.request.urlopen(url + what).read()
entries = json.loads(fetched("api/entries"))["entries"]
stacks = [each["report"]["stacks"][0]["id"] for each in entries if each["report"]]
print("here", flush=True)
for stack in itertools.cycle(stacks):
    began = time.perf_counter()
    for side in ("raw", "restored"):
        fetched(f"api/stacks/{stack}/{side}/plane?index=8")
    time.sleep(max(0.0, 0.2 - (time.perf_counter() - began)))
"""
_SIEGE = """
import os, socket, sys, threading, urllib.error, urllib.request
from urllib.parse import urlsplit
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
url = sys.argv[1]
address = urlsplit(url)
listeners = [socket.create_connection((address.hostname, address.port)) for _ in range(20)]
for each in listeners:
    each.sendall(f"GET /api/events HTTP/1.1\\r\\nHost: {address.netloc}\\r\\n\\r\\n".encode())
def hear(listener):
    while listener.recv(4096):
        pass
for each in listeners[1:]:
    threading.Thread(target=hear, args=(each,), daemon=True).start()
print("here", flush=True)
while True:
    try:
        urllib.request.urlopen(url + "api/entries").read()
    except urllib.error.HTTPError:
        pass
"""


@contextmanager
def visited(run: Recorded, by: str) -> Iterator[None]:
    """Let somebody look who draws nothing on this computer."""
    with (
        page_process(run) as (server, url),
        subprocess.Popen(
            [sys.executable, "-c", by, url], stdout=subprocess.PIPE, text=True
        ) as visitor,
    ):
        assert visitor.stdout is not None
        assert visitor.stdout.readline() == "here\n"
        with (
            cost_of("the page's process", [psutil.Process(server.pid)]),
            cost_of("the visitor", [psutil.Process(visitor.pid)]),
        ):
            yield
        assert visitor.poll() is None, "nobody was there in the end"
        visitor.kill()


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=int, nargs="?", default=7)
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--elsewhere", dest="by", action="store_const", const=_VIEWER)
    who.add_argument("--besieged", dest="by", action="store_const", const=_SIEGE)
    arguments = parser.parse_args()
    pairs, by = arguments.pairs, arguments.by
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = Recorded(folder / "first/run", folder / "first/state", folder)
        record(first.root)
        restore(first)  # warms every cache, and is what is played
        look: Look = (lambda run: visited(run, by)) if by else playing
        ratios = []
        for number in range(pairs):
            alone = s_per_stack(folder / f"alone-{number}", first.root, lambda _: nullcontext())
            beside = s_per_stack(folder / f"beside-{number}", first.root, look)
            ratios.append(beside / alone)
            print(f"a stack takes {alone:.3f} s, beside a page {beside:.3f} s", flush=True)
    print(f"median ratio {statistics.median(ratios):.3f} of {pairs} pairs")


if __name__ == "__main__":
    main()
