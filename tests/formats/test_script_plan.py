"""The plan of a script: what is settled, what is written down, and what it decides."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from live_restore import LiveRestore
from live_restore.errors import OutputError, StackUnreadableError
from live_restore.formats.acquisition_format import Planned
from live_restore.formats.script_plan import (
    PlannedAxes,
    PlanReader,
    ScriptPlan,
    extend_plan,
    plan_path,
    remove_plan,
)
from live_restore.stack import StackIndex
from tests.hooks.runs import finished_state


def events(slices: int, channel: str = "DAPI", time: int = 0) -> list[dict[str, Any]]:
    return [{"axes": {"time": time, "channel": channel, "z": z}} for z in range(slices)]


def test_what_is_loose_is_not_told_before_it_is_settled() -> None:
    axes = PlannedAxes()
    for event in events(2):
        axes.add(event["axes"], loose=True)
    for event in events(3, "FITC"):
        axes.add(event["axes"], loose=False)
    assert axes.take() == {StackIndex(0, 0, 1): (0, 1, 2)}, (
        "two of perhaps more planes are no stack"
    )
    axes.settle([StackIndex(0, 0, 0)])
    assert axes.take() == {StackIndex(0, 0, 0): (0, 1)}
    assert axes.take() == {}


def test_a_stack_that_gets_further_planes_is_given_again() -> None:
    axes = PlannedAxes()
    for event in events(2):
        axes.add(event["axes"], loose=False)
    assert axes.take() == {StackIndex(0, 0, 0): (0, 1)}
    for event in events(3):
        axes.add(event["axes"], loose=False)
    assert axes.take() == {StackIndex(0, 0, 0): (0, 1, 2)}
    axes.add(events(4)[3]["axes"], loose=True)
    assert axes.take() == {}


def test_a_large_plan_is_taken_in_pieces_in_the_order_of_the_events() -> None:
    axes = PlannedAxes()
    for time in range(5):
        axes.add(events(1, time=time)[0]["axes"], loose=False)
    assert list(axes.take(3)) == [StackIndex(0, 0, 0), StackIndex(0, 1, 0), StackIndex(0, 2, 0)]
    assert list(axes.take(3)) == [StackIndex(0, 3, 0), StackIndex(0, 4, 0)]


def test_planes_counted_from_the_middle_and_a_channel_of_one_plane() -> None:
    plan = ScriptPlan({StackIndex(0, 0, 0): (-1, 0, 1), StackIndex(0, 0, 1): (4,)})
    assert plan.planes(StackIndex(0, 0, 0)) == Planned(3, anywhere=True)
    assert plan.planes(StackIndex(0, 0, 1)) == Planned(1, anywhere=True)
    assert plan.volumes() == 1


def test_written_read_and_removed(tmp_path: Path) -> None:
    dataset = tmp_path / "run_1"
    dataset.mkdir()
    z_of = {StackIndex(p, t, 0): tuple(range(5)) for p in range(3) for t in range(4)}
    reader = PlanReader(dataset)
    assert reader.read() is None
    extend_plan(dataset, {StackIndex(0, 0, 0): (0, 1), StackIndex(7, 0, 0): (-1, 0)})
    assert reader.read() == ScriptPlan({StackIndex(0, 0, 0): (0, 1), StackIndex(7, 0, 0): (-1, 0)})
    extend_plan(dataset, z_of)
    assert reader.read() == ScriptPlan({**z_of, StackIndex(7, 0, 0): (-1, 0)})
    assert reader.read() is reader.read(), "parsed again although nothing has changed"
    assert list(dataset.iterdir()) == [], "the raw data's folder was written to"
    remove_plan(dataset)
    remove_plan(dataset)
    assert reader.read() is None


@pytest.mark.parametrize("rest", [b'{"z":[0,1],"sta', b"\0\0\0\0", b'\0\0"stacks":[]}\n'])
def test_half_a_line_is_no_plan_yet(tmp_path: Path, rest: bytes) -> None:
    dataset = tmp_path / "run_1"
    extend_plan(dataset, {StackIndex(0, 0, 0): (0, 1)})
    with plan_path(dataset).open("ab") as stream:
        stream.write(rest)
    assert PlanReader(dataset).read() == ScriptPlan({StackIndex(0, 0, 0): (0, 1)})


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tmp_path / "run_1"
    extend_plan(dataset, {StackIndex(0, 0, 0): (0, 1)})
    before = plan_path(dataset).read_bytes()
    resource = pytest.importorskip("resource", reason="limits the size of files on Unix")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limit[1]))
        with pytest.raises(OutputError):
            extend_plan(dataset, {StackIndex(0, 1, 0): (0, 1)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert plan_path(dataset).read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"z":[0],"stacks":[[0,0,0]],"more":1}',
        '{"z":[0],"stacks":[[0,0]]}',
        '{"z":["0"],"stacks":[[0,0,0]]}',
        '{"z":[0],"stacks":[[0,0,-1]]}',
    ],
)
def test_a_damaged_plan_is_named(tmp_path: Path, text: str) -> None:
    path = plan_path(tmp_path / "run_1")
    path.parent.mkdir()
    path.write_text(f"{text}\n")
    with pytest.raises(StackUnreadableError, match=r"plan\.jsonl: is no plan .*; delete it"):
        PlanReader(tmp_path / "run_1").read()


def test_a_plan_decides_what_the_files_leave_open(tmp_path: Path, shared_data: Path) -> None:
    traces = shared_data / "micromanager" / "traces"
    trace = traces / "pycromanager_ndtiff.jsonl.gz"
    subprocess.run(
        [sys.executable, traces / "replay.py", trace, tmp_path, "--speed", "inf"],
        check=True, capture_output=True,
    )  # fmt: skip
    (dataset,) = tmp_path.iterdir()
    before = finished_state(dataset).stacks
    assert all(evidence.complete for evidence in before.values())
    stack_indices = [StackIndex(key.position, key.time, key.channel) for key in before]
    extend_plan(dataset, {stack_index: tuple(range(7)) for stack_index in stack_indices})
    stacks = finished_state(dataset).stacks
    assert {(e.complete, e.planes_expected) for e in stacks.values()} == {(False, 7)}


def test_events_are_passed_on_unchanged_and_lazily() -> None:
    live = LiveRestore()
    listed, single = events(3), events(1)[0]
    assert live.expect(listed) is listed
    assert live.expect(single) is single
    asked = []

    def generated() -> Iterator[dict[str, Any]]:
        for event in listed:
            asked.append(event)
            yield event

    passing = live.expect(generated())
    assert asked == []
    assert next(passing) is listed[0]
    assert len(asked) == 1
    assert list(passing) == listed[1:]


def test_an_odd_event_is_passed_on_too(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveRestore() as live:
        odd: list[Any] = [{"axes": {"z": "top"}}, {"no axes": 1}, *events(2)]
        assert live.expect(odd) is odd
    assert capsys.readouterr().err.count("the planned planes are not known") == 1


def plan_of(folder: Path, events: object, *, taken: int | None = None) -> ScriptPlan | None:
    """Run a block in which one image of a saved run arrives; return the plan that it leaves."""
    live = LiveRestore(finish_s=0.0)
    with live:
        passing = live.expect(events)
        if taken is not None:
            for _ in range(taken):
                next(passing)  # type: ignore[call-overload]
        live.image_saved_fn({}, SimpleNamespace(path=f"{folder}/run_1/"))
    return PlanReader(folder / "run_1").read()


def test_single_events_are_whole_stacks_when_the_block_ends(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, events(1)[0])
    assert plan == ScriptPlan({StackIndex(0, 0, 0): (0,)})


def test_a_generator_that_was_stopped_does_not_shorten_its_last_stack(tmp_path: Path) -> None:
    assert plan_of(tmp_path, (event for event in events(9)), taken=5) is None


def test_a_second_run_in_a_block_takes_the_plan_of_the_first_away(tmp_path: Path) -> None:
    with LiveRestore(finish_s=0.0) as live:
        live.expect(events(3))
        live.image_saved_fn({}, SimpleNamespace(path=str(tmp_path / "run_1")))
        live.expect(events(5))
        live.image_saved_fn({}, SimpleNamespace(path=str(tmp_path / "run_2")))
    assert PlanReader(tmp_path / "run_1").read() is None
    assert PlanReader(tmp_path / "run_2").read() is None
    assert [outcome.path.name for outcome in live.outcomes] == ["run_1", "run_2"]


def test_a_run_in_memory_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveRestore(finish_s=0.0) as live:
        live.image_saved_fn({}, SimpleNamespace())
    assert "the acquisition is not saved; give Acquisition a directory" in capsys.readouterr().err
    assert live.outcomes == []
