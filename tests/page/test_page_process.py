"""The page as a process: killed, flooded, not read from; the run is not touched."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from live_restore.cli import page
from live_restore.errors import UsageError
from tests.page.runs import (
    Recorded,
    fetched,
    fetched_bytes,
    forked_page,
    page_process,
    small_model,
    spots,
    write_file,
)
from tests.support import small_disks
from tests.support.processes import digests, run_command, stop, wait_for, watching
from tests.support.systems import needs_signals


def test_killed_and_started_again_it_shows_the_same(recorded: Recorded) -> None:
    with forked_page(recorded) as (process, url):
        before = fetched(f"{url}api/entries")
        process.kill()
        process.wait()
    with forked_page(recorded, port=int(urlsplit(url).port or 0)) as (_, again):
        assert again == url
        after = fetched(f"{again}api/entries")
    assert {each["id"] for each in before["entries"]} == {each["id"] for each in after["entries"]}


def test_it_writes_nothing(recorded: Recorded) -> None:
    folders = [recorded.root / "files", recorded.root / "files" / "restored"]
    before = [digests(folder) for folder in folders]
    journal = dump(recorded.journal)
    with forked_page(recorded) as (_, url):
        for entry in fetched(f"{url}api/entries")["entries"]:
            for stack in (entry["report"] or {"stacks": []})["stacks"]:
                fetched_bytes(f"{url}api/stacks/{stack['id']}/raw/plane?projection=max")
                fetched_bytes(f"{url}api/stacks/{stack['id']}/thumbnail.png")
    assert [digests(folder) for folder in folders] == before
    assert dump(recorded.journal) == journal
    names = {path.name for path in recorded.root.rglob("*") if "live-restore-part" in path.name}
    assert names == set()


def dump(journal: Path) -> list[str]:
    database = sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True)
    try:
        return list(database.iterdump())
    finally:
        database.close()


@needs_signals
def test_a_signal_ends_it_soon_even_with_open_pages(
    recorded: Recorded, capfd: pytest.CaptureFixture[str]
) -> None:
    with page_process(recorded) as (process, url):
        listener = listening(url)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        assert time.monotonic() - began < 5
        listener.close()
    assert "Traceback" not in capfd.readouterr().err


def listening(url: str) -> socket.socket:
    """Open the events and read nothing."""
    address = urlsplit(url)
    listener = socket.create_connection((str(address.hostname), address.port), timeout=20)
    listener.sendall(f"GET /api/events HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return listener


def test_twenty_pages_and_some_that_never_read(recorded: Recorded) -> None:
    with forked_page(recorded) as (process, url):
        deaf = [listening(url) for _ in range(20)]
        found = fetched(f"{url}api/entries")["entries"]
        stacks = [each["report"]["stacks"][0]["id"] for each in found if each["report"]]
        failures: list[object] = []

        def look() -> None:
            for stack in stacks[:6]:
                for side in ("raw", "restored"):
                    try:
                        fetched_bytes(f"{url}api/stacks/{stack}/{side}/plane?index=1")
                    except (OSError, urllib.error.URLError) as error:
                        failures.append(error)

        people = [threading.Thread(target=look) for _ in range(20)]
        for person in people:
            person.start()
        for person in people:
            person.join()
        assert failures == []
        assert fetched(f"{url}health")["status"] == "ok"
        for listener in deaf:
            listener.close()
        assert process.poll() is None


def test_too_many_open_pages_are_refused_and_room_comes_back(recorded: Recorded) -> None:
    with forked_page(recorded) as (_, url):
        held = [listening(url) for _ in range(64)]
        for listener in held:
            assert b" 200 " in listener.recv(200)
        refused = listening(url)
        assert b" 503 " in refused.recv(200)
        for each in (*held, refused):
            each.close()

        def served() -> bool:
            with listening(url) as listener:
                return b" 200 " in listener.recv(200)

        wait_for(served, "room for another page", 20)


def test_a_port_that_is_taken_is_said_in_one_line(recorded: Recorded) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command(recorded.state, "page", recorded.root, "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "live-restore page --port 0" in done.stderr


def test_a_demo_beside_another_ones_page_has_a_page_of_its_own() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert page.with_free_port(("127.0.0.1", port)) == ("127.0.0.1", 0)
    assert page.with_free_port(("127.0.0.1", port)) == ("127.0.0.1", port)


def test_a_folder_that_was_never_watched_is_said(tmp_path: Path) -> None:
    done = run_command(tmp_path, "page", tmp_path)
    assert done.returncode == 2
    assert "has never been watched" in done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("ending", ["asked", "killed"])
def test_watch_brings_its_page_along_and_takes_it_with_it(tmp_path: Path, ending: str) -> None:
    root, model, port = tmp_path / "run", small_model(tmp_path), free_port()
    root.mkdir()
    url = f"http://127.0.0.1:{port}/"
    flags = ("--model", str(model), "--device", "cpu", "--plain", "--page", str(port))
    with watching(tmp_path, root, *flags, real=True) as daemon:
        wait_for(lambda: answers(url), "the page", 30)
        child = psutil.Process(daemon.pid).children()[0]
        write_file(root / "a.ome.tif", spots(1))
        wait_for(lambda: fetched(f"{url}api/run")["counts"]["done"] == 1, "the first result", 30)
        assert fetched(f"{url}api/run")["watched"] is True
        if ending == "asked":  # the page dies first: the daemon never notices
            child.kill()
            write_file(root / "b.ome.tif", spots(2))
            result = root / "restored" / "b.json"
            wait_for(result.exists, "a result without a page", 30)
            code, log = stop(daemon)
            assert code == 0, log
        else:
            daemon.kill()
            daemon.wait()
        wait_for(lambda: not child.is_running() or child.status() == "zombie", "its end", 20)
    assert not answers(url)


def answers(url: str) -> bool:
    try:
        fetched(f"{url}health")
    except OSError:
        return False
    return True


def test_new_results_are_announced_to_whoever_listens(recorded: Recorded, tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    flags = ("--model", str(recorded.model), "--device", "cpu", "--plain")
    with watching(tmp_path, root, *flags) as daemon:
        live = Recorded(root, tmp_path, recorded.model)
        wait_for(live.journal.exists, "the journal", 30)
        with forked_page(live) as (_, url), urllib.request.urlopen(f"{url}api/events") as events:
            write_file(root / "a.ome.tif", spots(1))
            for line in events:
                if line.startswith(b"data: ") and json.loads(line[6:])["counts"]["done"] == 1:
                    break
            told = json.loads(line[6:])
            entry = next(
                each
                for each in fetched(f"{url}api/entries")["entries"]
                if each["id"] == told["last_result"]
            )
            stack = entry["report"]["stacks"][0]["id"]
            fetched_bytes(f"{url}api/stacks/{stack}/restored/plane?index=2")
            # Generous for a loaded machine; docs say what was measured on a quiet one.
            assert time.time() - entry["finished_at"] < 3
        stop(daemon)


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    page.require_extra()  # they are here
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install .*\[page\]"):
        page.require_extra()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    with small_disks.small_disk(tmp_path / "small", 4096) as disk:
        yield disk


@pytest.mark.slow
def test_on_a_full_disk_the_page_goes_on_and_nothing_is_lost(
    recorded: Recorded, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_RESTORE_OUTPUT__MIN_FREE_GB", "0")
    root, ballast = small_disk / "run", small_disk / "ballast"
    root.mkdir()
    for number in range(3):
        write_file(root / f"cell_{number}.ome.tif", spots(number))
    raw = digests(root)
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    live = Recorded(root, tmp_path, recorded.model)
    flags = ("--model", str(recorded.model), "--device", "cpu", "--plain")
    with watching(tmp_path, root, *flags) as daemon:
        wait_for(live.journal.exists, "the journal", 30)
        with page_process(live) as (process, url):

            def told(what: str) -> list[str]:
                return [each[what] for each in fetched(f"{url}api/entries")["entries"]]

            wait_for(lambda: any("no space" in reason.lower() for reason in told("reason")), "it")
            assert fetched(f"{url}api/disk")[-1][1] < 10_000
            assert digests(root) == raw
            ballast.unlink()
            wait_for(lambda: told("state") == ["done"] * 3, "the results")
            assert process.poll() is None
        code, log = stop(daemon)
        assert code == 0, log
    assert {name: digest for name, digest in digests(root).items() if name in raw} == raw


@pytest.mark.slow
def test_memory_stays_flat_over_two_thousand_stacks(recorded: Recorded, tmp_path: Path) -> None:
    """The journal is filled with 2,000 entries that share one result; each is looked at."""
    state, root = tmp_path / "state", tmp_path / "run"
    shutil.copytree(recorded.root / "files", root / "files")
    shutil.copytree(recorded.state, state)
    many = Recorded(root, state, recorded.model)
    shutil.copy(recorded.journal, many.journal)
    database = sqlite3.connect(many.journal)
    columns = (
        "recipe, acquisition, position, time, channel, folder, state, reason, size, mtime_ns, "
        "attempts, stacks, result, turn, seen_at, finished_at"
    )
    row = database.execute(
        f"SELECT {columns} FROM entry WHERE acquisition = ?", (b"files/cell_t000.ome.tif",)
    ).fetchone()
    marks = ", ".join("?" * len(row))
    content = (root / "files" / "cell_t000.ome.tif").read_bytes()
    for number in range(2000):
        name = f"files/many_{number:04d}.ome.tif"
        (root / name).write_bytes(content)
        database.execute(
            f"INSERT INTO entry ({columns}) VALUES ({marks})", (row[0], name.encode(), *row[2:])
        )
    database.commit()
    database.close()
    with page_process(many) as (process, url):
        wait_for(lambda: fetched(f"{url}api/run")["reading_reports"] == 0, "the reports", 60)
        found, since, more = [], 0, True
        while more:
            part = fetched(f"{url}api/entries?since={since}")
            found += part["entries"]
            since, more = part["version"], part["more"]
        stacks = [e["report"]["stacks"][0]["id"] for e in found if e["name"].startswith("many_")]
        assert len(stacks) == 2000
        memory = psutil.Process(process.pid)
        seen = []
        for number, stack in enumerate([*stacks, *stacks]):
            for what in ("raw/plane?index=1", "restored/plane?projection=max", "thumbnail.png"):
                fetched_bytes_patiently(f"{url}api/stacks/{stack}/{what}")
            if number % 500 == 499:
                seen.append(memory.memory_info().rss / 1e6)
        print("resident MB", seen)
        # The first round fills the caches, which are bounded: 2,000 volumes of 18 kB, their
        # projections and thumbnails, 45 MB. The second finds all of it there: nothing else grows.
        assert seen[3] - seen[0] < 80
        assert seen[-1] - seen[3] < 8


def fetched_bytes_patiently(url: str) -> bytes:
    while True:
        try:
            return fetched_bytes(url)
        except urllib.error.HTTPError as error:
            if error.code != 429:
                raise
            time.sleep(0.2)
