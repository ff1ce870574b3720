"""The display: what it says, and that no name can break it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from live_restore.cli.display import render
from live_restore.cli.parsing import duration
from live_restore.engine.progress import Snapshot
from live_restore.engine.status import Status
from live_restore.journal.states import State


def shown(status: Status, snapshot: Snapshot, width: int = 100, *, ended: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, legacy_windows=False).print(
        render(status, snapshot, ended=ended)
    )
    return stream.getvalue()


def a_status(root: str = "/data", device: str = "a processor", **counts: int) -> Status:
    numbers = {state: counts.get(state.value, 0) for state in State}
    return Status(Path(root), (device,), ("fast 1",), numbers)


def test_what_a_person_wants_to_know() -> None:
    status = a_status(done=7, waiting=2, running=1, arriving=4, failed=1, refused=2, incomplete=3)
    text = shown(status, Snapshot(
        current="run/a.tif", delay_s=1.26, mvoxel_per_s=0.5, warnings=("on the CPU",),
        running_s=3725,
    ))  # fmt: skip
    for part in (
        "arrived", "20", "restored", "7", "1.3 s", "0.50 Mvoxel/s", "a processor", "fast 1",
        "run/a.tif", "! on the CPU", "1 h 02 min", str(Path("/data")), "Ctrl-C stops",
    ):  # fmt: skip
        assert part in text, part
    rows = {line.split()[1]: line.split() for line in text.splitlines() if "│" in line}
    assert rows["arriving"][2:5] == ["4", "waiting", "3"]
    assert rows["now"][-2] == "6"


def test_doubtful_results_are_counted_beside_the_restored() -> None:
    assert "doubtful" not in shown(a_status(done=7), Snapshot())
    assert "7 (2 doubtful)" in shown(replace(a_status(done=7), doubtful=2), Snapshot())
    dim = replace(a_status(done=7), doubtful_brightness=3)
    assert "7 (3 for measuring brightness)" in shown(dim, Snapshot())


def test_a_note_is_no_warning() -> None:
    text = shown(a_status(), Snapshot(warnings=("on the CPU",), notes=("taken as z",)))
    assert "! on the CPU" in text
    assert "· taken as z" in text


def test_it_says_that_the_acquisition_goes_first() -> None:
    snapshot = Snapshot(current="run/a.tif")
    assert "waiting for the microscope" in shown(replace(a_status(), waiting=True), snapshot)
    assert "waiting for the microscope" not in shown(a_status(), snapshot)


def test_a_stop_is_answered_at_once() -> None:
    text = shown(a_status(), Snapshot(stopping=True))
    assert "Ctrl-C again ends at once" in text
    assert "Ctrl-C stops" not in text


def test_what_stays_on_the_screen_offers_nothing_to_stop() -> None:
    text = shown(a_status(done=7), Snapshot(stopping=True), ended=True)
    assert "ended" in text
    assert "Ctrl-C" not in text


def test_nothing_yet() -> None:
    text = shown(a_status(), Snapshot())
    assert "nothing to do" in text
    assert "arrived" in text
    assert "–" in text


NAMES = ["[/x].tif", "[bold]a[/bold].tif", "[red].tif", "a\nb.tif", "a\x1b[2J.tif", "\\[x].tif"]


@pytest.mark.parametrize("name", [*NAMES, "\udcff.tif"])
def test_names_are_shown_as_they_are(name: str) -> None:
    text = shown(a_status(f"/data/{name}", name), Snapshot(current=name, warnings=(name,)))
    assert "\x1b" not in text
    assert all(line[0] in "╭│╰" for line in text.splitlines())
    if name.isprintable():
        in_title = name in str(Path(f"/data/{name}"))  # on Windows a slash is none in a path
        assert text.count(name) == 3 + in_title


@given(st.text(max_size=40))
@settings(max_examples=50, deadline=None)
def test_no_text_breaks_it(text: str) -> None:
    shown(a_status("/" + text, text), Snapshot(current=text, warnings=(text,)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (99.94, "99.9 s"),
        (100, "1 min 40 s"),
        (3600, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
