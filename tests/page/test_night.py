"""The night report: ``status`` in words, as JSON, and as one page for the lab book."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.cli.status import summary_lines
from live_restore.journal.entry import Entry
from live_restore.journal.facts import RunRecord
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.overview.entries import ReportFacts, ShownEntry, ShownStack
from live_restore.overview.night import night_report, pace_of_entries
from live_restore.page.night_html import night_html
from live_restore.page.pixels import Pixels
from live_restore.settings.model import FilesSettings
from live_restore.stack import FOR_BRIGHTNESS, Fingerprint, StackIndex, StackKey
from tests.page.runs import HOSTILE, Recorded, client_of, named, spots, write_file
from tests.support.processes import run_command, status

AT = StackIndex(0, 1, 0)


def entry_at(
    number: int,
    *,
    state: State = State.DONE,
    reason: str = "",
    delay_s: float = 3.0,
    snr: float = 9,
) -> ShownEntry:
    """An entry of a run with an arrival every ten seconds."""
    key, seen = StackKey(Path(f"cell_{number:04d}.tif")), 1e9 + 10.0 * number
    entry = Entry(
        key, state, reason, Fingerprint(1, 1), 1, 1, "x.ome.tif", seen, seen + delay_s,
    )  # fmt: skip
    stack = ShownStack(f"{number}-0-0-0", 0, number, 0, "GFP", True, snr=snr)
    facts = ReportFacts(
        (4, 8, 8), "uint16", "ZYX", (0.3, 0.1, 0.1), (1, 1, 1), delay_s, 0.1, 1.0, "fast 1", "", "",
        (stack,),
    )  # fmt: skip
    return ShownEntry(str(number), 1, entry, reason, facts if state is State.DONE else None)


def test_a_night_that_bleaches_and_falls_behind_is_told_so() -> None:
    shown = [entry_at(n, delay_s=3.0 + n, snr=20.0 - 0.2 * n) for n in range(40)]
    report = night_report(shown, RunRecord(1e9), {}, watched=False)
    (trend,) = report.signal_to_noise.values()
    assert trend.words == "falls"
    assert report.delay is not None
    assert report.delay.words == "rises"
    assert report.longest_delay == (42.0, shown[-1].entry.finished_at)
    assert report.pace.words == "fell behind by 1.0 s per stack, and has caught up"
    assert (report.first_at, report.last_at) == (1e9, 1e9 + 390 + 42)
    assert "killed" in report.last_run.how_it_ended(watched=False)


def test_what_became_of_light_is_told_from_beginning_to_end() -> None:
    def with_numbers(number: int) -> ShownEntry:
        each = entry_at(number)
        assert each.facts is not None
        stack = replace(
            each.facts.stacks[0], flux_bias_percent=-0.1 * number, gain_db=12.04,
            half_light_db=1.8, less_light=f"half the light {number}",
        )  # fmt: skip
        return replace(each, facts=replace(each.facts, stacks=(stack,)))

    shown = [with_numbers(n) for n in range(40)]
    report = night_report(shown, RunRecord(1e9), {}, watched=False)
    lines = list(summary_lines(report))
    assert "gain over raw: steady at 12.0 dB" in lines
    assert "light of bright regions, restored against raw: -0.5 % to -3.5 %" in lines
    assert "less light: half the light 39" in lines
    page = night_html("run", lines, [], shown, Pixels(Path(), FilesSettings()))
    for chart in (
        "gain over raw (dB)",
        "light of bright regions against raw (%)",
        "half the light",
    ):
        assert f'aria-label="{chart}' in page
    chart = page[page.index('aria-label="gain over raw (dB)') :].partition("</svg>")[0]
    ends = [time.strftime("%H:%M:%S", time.localtime(1e9 + n * 10 + 3)) for n in (0, 39)]
    assert all(f"{end}</text>" in chart for end in ends), "when"
    assert all(f">{value}</text>" in chart for value in ("0", "12.0")), "how much"
    assert 'aria-label="gain over raw (dB), GFP, 12.0 to 12.0"' in chart, "digits as elsewhere"


def test_how_far_to_trust_is_told_of_few_stacks_too() -> None:
    def of(number: int, **numbers: Any) -> ShownEntry:
        each = entry_at(number, snr=5.0 + number)
        assert each.facts is not None
        stack = replace(each.facts.stacks[0], **numbers)
        return replace(each, facts=replace(each.facts, stacks=(stack,)))

    shown = [of(0, gain_db=9.0), of(1, gain_is_more=True), of(2, flux_bias_percent=-2.0)]
    lines = list(summary_lines(night_report(shown, RunRecord(1e9), {}, watched=False)))
    assert (
        "how far to trust: signal to noise 5.0 to 7.0, gain over raw 9.0 dB (in 1 of 3; more "
        "in 1), light of bright regions -2.0 % against raw"
    ) in lines


def test_what_is_worked_off_falls_not_behind() -> None:
    """Stacks that were found together wait longer one by one; there are no more of them."""

    def found_at_the_start(number: int, delay_s: float | None) -> ShownEntry:
        each = entry_at(number, delay_s=12.0 * number + 4)
        entry = replace(each.entry, seen_at=1e9, finished_at=1e9 + 12 * number + 4)
        assert each.facts is not None
        return replace(each, entry=entry, facts=replace(each.facts, delay_s=delay_s))

    for delay_s in (lambda n: 12.0 * n + 4, lambda _: None):
        done = [found_at_the_start(n, delay_s(n)) for n in range(12)]
        waits = entry_at(90, state=State.WAITING)
        waits = replace(waits, entry=replace(waits.entry, seen_at=1e9, finished_at=None))
        said = [pace_of_entries(shown).words for shown in ([*done, waits], done)]
        assert said == ["catching up", "caught up"]
    # What never came to its end keeps nothing waiting.
    incomplete = entry_at(91, state=State.INCOMPLETE)
    incomplete = replace(incomplete, entry=replace(incomplete.entry, finished_at=None))
    assert pace_of_entries([*map(entry_at, range(9)), incomplete]).words == "keeps up"


def test_cut_off_and_saturated_are_said_in_the_morning(recorded: Recorded, tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    bright = spots(2, (8, 60, 60))
    write_file(root / "bright.ome.tif", np.minimum(bright, np.uint16(np.percentile(bright, 99))))
    write_file(root / "cut.ome.tif", spots(1))
    content = (root / "cut.ome.tif").read_bytes()
    (root / "cut.ome.tif").write_bytes(content[: len(content) // 2])
    done = run_command(
        tmp_path, "watch", root, "--once", "--model", recorded.model, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    said = run_command(tmp_path, "status", root).stdout
    first, *_ = said.splitlines()
    assert first == "1 stack done, 1 file never complete; of the done, 1 doubtful"
    assert re.search(r"1 doubtful: .* of its raw voxels are saturated", said)
    assert "    what to do: use less light or a shorter exposure\n" in said
    assert "1 never complete: the file ends before its last plane" in said
    assert "what to do: record it again, or start live-restore watch" in said
    with client_of(root, Recorded(root, tmp_path, recorded.model).journal) as client:
        assert named(client, "cut.ome.tif")["state"] == "incomplete"
        assert named(client, "bright.ome.tif")["doubtful"]
        assert len(client.get("/api/reasons").json()) == 2


def test_of_what_was_there_before_no_delay_is_told(recorded: Recorded, tmp_path: Path) -> None:
    shutil.copytree(recorded.root / "files", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "restored")
    old = time.time() - 90 * 86400
    for file in (tmp_path / "run").glob("cell*"):
        os.utime(file, (old, old))
    done = run_command(
        tmp_path, "watch", tmp_path / "run", "--once", "--model", recorded.model, "--device", "cpu"
    )
    assert done.returncode == 1, done.stderr  # one of them is broken
    # Nor of any other where the run was recorded so long before that it had not arrived just now.
    longest = status(tmp_path, tmp_path / "run")["longest_delay_s"]
    assert longest is None or longest < 86400


def test_pictures_are_in_the_order_in_which_people_count(recorded: Recorded) -> None:
    shown = [replace(entry_at(number), reason="") for number in (10, 9, 2, 1)]
    shown = [
        replace(each, entry=replace(each.entry, key=StackKey(Path(f"cell_{each.id}.tif"))))
        for each in shown
    ]
    page = night_html("run", [], [], shown, Pixels(recorded.root, FilesSettings()))
    assert re.findall(r"cell_(\d+)\.tif", page) == ["1", "2", "9", "10"]


def test_what_failed_comes_first_and_alike_reasons_are_one() -> None:
    shown = [
        *(entry_at(n, reason=f"signal-to-noise {n}.5 is below 4") for n in range(8)),
        entry_at(8, reason=f"signal-to-noise 8.5 is below 4; {FOR_BRIGHTNESS}: at 8.5 too dim"),
        entry_at(20, state=State.INCOMPLETE, reason="3 of 4 planes"),
        *(entry_at(40 + n, reason=f"{FOR_BRIGHTNESS}: at {n}.5 too dim") for n in range(9)),
        *(entry_at(30 + n, state=State.FAILED, reason=f"plane {n} is bad; redo") for n in range(2)),
    ]
    groups = night_report(shown, RunRecord(), {}, watched=True).groups
    assert [(group.state, group.count) for group in groups] == [
        ("failed", 2), ("doubtful", 9), ("incomplete", 1), (FOR_BRIGHTNESS, 9),
    ]  # fmt: skip
    assert groups[0].remedy == "redo"
    assert groups[-1].reason == "at 0.5 too dim"


def test_status_in_words_and_as_json(recorded: Recorded) -> None:
    words = run_command(recorded.state, "status", recorded.root).stdout
    lines = words.splitlines()
    assert lines[0] == "17 stacks done, 1 file failed; of the done, 1 doubtful"
    assert re.match(r"\d{4}-\d\d-\d\d .* to .* \(", lines[1])
    assert lines[2].startswith("not being watched now: all that was complete is restored (--once)")
    assert words.index("broken.tif") < words.index("\n1 doubtful") < words.index("longest delay")
    assert "delay from the last plane to the result: " in words
    told = status(recorded.state, recorded.root)
    assert told["ended"].endswith("(--once)")
    assert told["delay_s"]["trend"] in ("steady", "falls", "rises")
    assert [group["state"] for group in told["reasons"]][-1] in ("doubtful", "refused")
    assert told["missing"] == told["changed"] == []
    assert len(told["files"]) == 18


def test_results_that_are_missing_or_changed_are_named(recorded: Recorded, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(recorded.root, root)
    copy = Recorded(root, tmp_path / "state", recorded.model)
    flags = ("--once", "--model", copy.model, "--device", "cpu")
    closing = run_command(copy.state, "watch", root, *flags).stderr.splitlines()[-1]
    assert f"1 failed ({Path('files/broken.tif')}): not a TIFF file; check" in closing
    (root / "files/restored/cell_t000.ome.tif").unlink()
    changed = root / "files/restored/cell_t001.ome.tif"
    with changed.open("r+b") as image:
        image.write(b"II*\0")
    os.utime(changed, (time.time() + 5, time.time() + 5))
    (root / "files/odd voxels.ome.tif").rename(root / "files/odd.ome.tif")
    told = status(copy.state, root)
    assert told["renamed"] == ["files/odd voxels.ome.tif"]
    assert told["missing"] == ["files/cell_t000.ome.tif"]
    assert told["changed"] == ["files/cell_t001.ome.tif"]
    words = run_command(copy.state, "status", root).stdout
    assert "1 result missing" in words
    assert "1 result changed after it was published" in words


def test_the_page_for_the_lab_book_needs_nothing_else(recorded: Recorded, tmp_path: Path) -> None:
    file = tmp_path / "night.html"
    done = run_command(recorded.state, "status", recorded.root, "--html", file, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["done"] == 17
    page = file.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 17
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert HOSTILE not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<svg" in page
    # It names all that the terminal does.
    told = run_command(recorded.state, "status", recorded.root).stdout.splitlines()
    # But for lines of tables, which are of ASCII where standard output is.
    lines = [line for line in told if line[0] not in "┏┃┡│├└+|" and not line.startswith("log:")]
    assert [line for line in lines if escape(line, quote=True) not in page] == []
    for entry in json.loads(done.stdout)["files"]:
        if entry["state"] not in ("done", "waiting"):
            assert escape(entry["reason"], quote=True) in page
    refused = run_command(recorded.state, "status", recorded.root, "--html", tmp_path)
    assert refused.returncode == 2
    assert "is a folder" in refused.stderr


def test_a_process_that_was_killed_leaves_a_beginning_without_an_end(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="r") as journal:
        journal.facts.begin_run(newest_first=False)
        journal.facts.end_run("stopped by Ctrl-C")
        assert journal.facts.last_run().how_it_ended(watched=False) == "stopped by Ctrl-C"
        journal.facts.begin_run(newest_first=True)
        last = journal.facts.last_run()
    assert last.ended_at is None
    assert "killed" in last.how_it_ended(watched=False)
    assert last.newest_first
    assert last.how_it_ended(watched=True) == ""


def test_a_kill_is_told_after_the_next_start_too(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="r") as journal:
        for end in ("stopped by Ctrl-C", "stopped by an error: disk", "", "all that was complete"):
            journal.facts.begin_run(newest_first=False)
            if end:
                journal.facts.end_run(end)
        last = journal.facts.last_run()
    assert [each.why.partition(",")[0] for each in last.bad_ends] == [
        "stopped by an error: disk", "its process was killed",
    ]  # fmt: skip
    assert all(each.began_at <= each.over_at <= time.time() for each in last.bad_ends)
    (line,) = (
        line
        for line in summary_lines(night_report([], last, {}, watched=False))
        if "ended badly" in line
    )
    assert "its process was killed, or the computer went off, between " in line
    assert line.endswith("the last of 2 such ends; it went on from there")
    long_ago = replace(last, bad_ends=tuple(replace(each, over_at=1e9) for each in last.bad_ends))
    lines = summary_lines(night_report([], long_ago, {}, watched=False))
    assert not any("badly" in line for line in lines), "of more than a day ago"


def test_whatever_is_kept_of_bad_ends_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="r") as journal:
        for kept in (
            "",
            "no JSON",
            "[]",
            '{"ends": 3}',
            '{"ends": [[1], 2, [1, "b", 3], [1, 2, 3]]}',
        ):
            with journal._file.transaction():
                journal._file.remember("bad_ends", kept)
            assert journal.facts.last_run().bad_ends == ()
            journal.facts.begin_run(newest_first=False)


def test_stacks_are_counted_where_files_hold_several() -> None:
    several = entry_at(1)
    several = replace(several, entry=replace(several.entry, stacks=4))
    assert several.facts is not None
    doubted = tuple(replace(several.facts.stacks[0], doubts=("dark",)) for _ in range(2))
    several = replace(several, facts=replace(several.facts, stacks=doubted))
    shown = [
        several,
        replace(entry_at(2), entry=replace(entry_at(2).entry, key=StackKey(Path("run"), AT))),
        *(entry_at(n, state=State.FAILED, reason="odd") for n in (3, 4)),
        entry_at(5, state=State.INCOMPLETE, reason="3 of 4 planes"),
        replace(
            entry_at(6, state=State.INCOMPLETE),
            entry=replace(entry_at(6, state=State.INCOMPLETE).entry, key=StackKey(Path("run"), AT)),
        ),
    ]
    said, *_ = summary_lines(night_report(shown, RunRecord(), {}, watched=False))
    assert said == (
        "5 stacks done, 2 files failed, 1 stack and 1 file incomplete; of the done, 2 doubtful"
    )
