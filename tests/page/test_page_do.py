"""What the page does beside looking: previews, results by another model, pausing; who may ask."""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from starlette.testclient import TestClient

from live_restore.engine.control import Control, Orders
from live_restore.engine.progress import Progress
from live_restore.journal.journal import Journal
from live_restore.journal.wishes import Wish, send_wish, take_wishes, wishes_folder
from live_restore.page.tasks import Task, Tasks, TooMuchError, as_request
from live_restore.page.work import preview
from live_restore.settings.load import load_settings
from live_restore.stack import StackIndex, StackKey
from tests.page.runs import Recorded, client_of, entries, named, spots, write_file
from tests.support.processes import digests, run_command, stop, wait_for, watching

TOKEN = "t" * 32
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def run(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """A run of its own: results of another model are written beside those that it has."""
    root = tmp_path / "run"
    shutil.copytree(recorded.root / "files", root / "files")
    monkeypatch.setenv("LIVE_RESTORE_JOURNAL__FOLDER", str(tmp_path / "state"))
    monkeypatch.setenv("LIVE_RESTORE_INFERENCE__DEVICE", "cpu")
    own = Recorded(root, tmp_path / "state", recorded.model)
    own.state.mkdir()
    shutil.copy(recorded.journal, own.journal)
    return own


@pytest.fixture
def acting(run: Recorded) -> Iterator[TestClient]:
    with client_of(run.root, run.journal, token=TOKEN) as client:
        yield client


def tasks_done(client: TestClient) -> list[dict[str, Any]]:
    def told() -> list[dict[str, Any]]:
        return list(client.get("/api/do").json()["tasks"])

    wait_for(lambda: all(t["state"] in ("done", "failed") for t in told()), "the tasks", 60)
    return told()


def test_a_preview_is_what_that_model_makes_and_nothing_is_published(
    acting: TestClient, run: Recorded, tmp_path: Path
) -> None:
    before = digests(run.root / "files" / "restored")
    (stack,) = named(acting, "cell_t001.ome.tif")["report"]["stacks"]
    url = f"/api/stacks/{stack['id']}/preview/plane"
    assert acting.get(url).status_code == 503
    asked = {"stack": stack["id"], "model": "fast"}
    assert acting.post("/api/do/preview", json=asked, headers=BEARER).status_code == 202
    (task,) = tasks_done(acting)
    assert task["state"] == "done", task
    assert 0 < task["seconds"] < 60
    restored = run_command(
        tmp_path, "restore", run.root / "files/cell_t001.ome.tif", "-o", tmp_path / "out",
        "--model", "fast", "--device", "cpu",
    )  # fmt: skip
    assert restored.returncode == 0, restored.stderr
    truth = tifffile.imread(tmp_path / "out" / "cell_t001.ome.tif")
    answer = acting.get(url, params={"index": 2})
    assert np.array_equal(np.frombuffer(answer.content, "<u2").reshape(truth[2].shape), truth[2])
    highest = acting.get(url, params={"projection": "max", "axis": "y"})
    assert highest.content == truth.max(axis=1).tobytes()
    assert digests(run.root / "files" / "restored") == before


def test_how_far_a_preview_is_is_told(
    run: Recorded, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    request = {
        "root": str(run.root),
        "key": as_request(StackKey(Path("files/cell_t001.ome.tif"))),
        "at": [0, 0, 0],
        "preview": str(tmp_path / "1.npy"),
    }
    preview(request, load_settings(None, {"models": [{"model": str(run.model)}]}))
    told = [json.loads(line)["now"] for line in capfd.readouterr().out.splitlines()]
    assert told[:2] == ["reading the stack", "loading the model"]
    tiles = told[2:]  # how many depends on what memory is free
    assert tiles
    assert tiles == [f"tile {number}" for number in range(1, len(tiles) + 1)]


def test_a_model_learns_from_the_run_of_a_stack(acting: TestClient, run: Recorded) -> None:
    """As far as a run without a camera goes: what the workshop says is told."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    asked = {"entry": named(acting, "cell_t001.ome.tif")["id"], "model": "fast"}
    assert acting.post("/api/do/adapt", json=asked).status_code in (401, 403)
    assert acting.post("/api/do/adapt", json=asked, headers=BEARER).status_code == 202
    again = acting.post("/api/do/adapt", json=asked, headers=BEARER)
    assert again.status_code == 409
    (task,) = tasks_done(acting)
    assert (task["what"], task["state"]) == ("adapt to files", "failed")
    assert "live-restore camera" in task["failed"][0]
    assert not (run.root / "files_adapted.onnx").exists()


def test_where_nothing_can_learn_it_is_said(
    acting: TestClient, monkeypatch: pytest.MonkeyPatch, run: Recorded
) -> None:
    if find_spec("torch"):
        assert acting.get("/api/do").json()["adapt"] == ""
    monkeypatch.setattr("live_restore.workshop._NEEDED", ("no_such_package",))
    with client_of(run.root, run.journal, token=TOKEN) as client:
        assert "no_such_package is not installed" in client.get("/api/do").json()["adapt"]
        asked = {"entry": named(client, "cell_t001.ome.tif")["id"], "model": "fast"}
        assert client.post("/api/do/adapt", json=asked, headers=BEARER).status_code == 409


def test_it_is_told_for_how_long_something_has_been_worked_on() -> None:
    task = Task(1, "preview of a.tif", "fast", 1)
    assert task.to_json()["seconds"] is None
    running = replace(task, state="running", began=time.monotonic() - 12)
    assert running.to_json()["seconds"] == pytest.approx(12, abs=1)
    assert replace(running, ended=running.began + 3).to_json()["seconds"] == 3


def test_previews_go_with_the_page(run: Recorded) -> None:
    with client_of(run.root, run.journal, token=TOKEN) as client:
        (stack,) = named(client, "cell_t001.ome.tif")["report"]["stacks"]
        client.post("/api/do/preview", json={"stack": stack["id"], "model": "fast"}, headers=BEARER)
        tasks_done(client)
        assert list(run.state.glob("*.previews-*/*.npy"))
    assert list(run.state.glob("*.previews-*")) == []
    dead = run.journal.with_suffix(".previews-999999999")
    dead.mkdir()
    Tasks(run.root, run.journal)
    assert not dead.exists()


def test_restored_again_lies_beside_the_result_that_is_there(
    acting: TestClient, run: Recorded
) -> None:
    folder = run.root / "files" / "restored"
    before = digests(folder)
    ids = [named(acting, f"cell_t00{n}.ome.tif")["id"] for n in range(2)]
    asked = {"entries": [*ids, named(acting, "broken.tif")["id"]], "model": "fast"}
    assert acting.post("/api/do/again", json=asked, headers=BEARER).status_code == 202
    (task,) = tasks_done(acting)
    assert (task["state"], task["done"], len(task["failed"])) == ("failed", 2, 1)
    assert "broken.tif" in task["failed"][0]
    after = digests(folder)
    assert {name: after[name] for name in before} == before
    new = sorted(set(after) - set(before))
    assert sorted(task["results"]) == [name for name in new if name.endswith(".ome.tif")]
    assert all(name.split(".")[1].startswith("fast-") for name in new)


def test_stacks_of_an_acquisition_are_restored_again_one_by_one(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_RESTORE_INFERENCE__DEVICE", "cpu")
    root = tmp_path / "run"
    shutil.copytree(recorded.root / "night_1", root / "night_1")
    tasks = Tasks(root, tmp_path / "j.sqlite")
    try:
        key = StackKey(Path("night_1"), StackIndex(1, 2, 0))
        tasks.again([key, StackKey(Path("night_1"), StackIndex(7, 7, 7))], "fast")
        wait_for(lambda: tasks.all()[0].state in ("done", "failed"), "it", 60)
        (task,) = tasks.all()
        assert task.done == ("p001_t0002_c00.ome.tif",)
        assert "is not there" in task.failed[0]
        assert [p.name for p in (root / "night_1_restored").glob("*.tif")] == list(task.done)
    finally:
        tasks.close()


def test_a_worker_that_dies_and_too_much_at_once(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path, tmp_path / "j.sqlite")
    try:
        keys = [StackKey(Path(f"{number}.tif")) for number in range(30)]
        with pytest.raises(TooMuchError):
            deque((tasks.again([key], "no such model") for key in keys), maxlen=0)
        wait_for(lambda: tasks.all()[0].state == "failed", "the first", 60)
        assert "neither a file nor a bundled model" in tasks.all()[0].failed[0]
    finally:
        tasks.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({**BEARER, "Origin": "http://evil.example"}, 403),
        ({**BEARER, "Origin": "null"}, 403),
        ({**BEARER, "Host": "evil.example"}, 421),
        ({**BEARER, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({**BEARER, "Content-Type": "text/plain"}, 415),
        ({**BEARER, "Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Cookie": f"live-restore-page={TOKEN}"}, 403),
        ({"Cookie": f"live-restore-page={TOKEN}", "Origin": "http://127.0.0.1:8765"}, 409),
        (BEARER, 409),
    ],
)
def test_who_may_act(
    recorded: Recorded, headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    """409 is "nobody watches": it came through."""
    with client_of(recorded.root, recorded.journal, token=TOKEN) as client:
        body = json.dumps({"wish": "pause"})
        told = {"Content-Type": "application/json", **headers}
        answer = client.post("/api/do/daemon", content=body, headers=told)
        assert answer.status_code == status, answer.text
        assert client.get("/api/do/daemon", headers=BEARER).status_code == 405
        assert client.post(f"/api/do/daemon?token={TOKEN}", json={}).status_code == 401
    assert not wishes_folder(recorded.journal).exists()


def test_without_a_token_of_its_own_nobody_acts(recorded: Recorded) -> None:
    with client_of(recorded.root, recorded.journal) as client:
        assert client.post("/api/do/daemon", json={}, headers=BEARER).status_code == 405
        assert client.get("/api/do").json()["allowed"] is False


def test_looking_needs_no_token_here_and_the_address_with_it_allows_to_act(
    recorded: Recorded,
) -> None:
    with client_of(recorded.root, recorded.journal, token=TOKEN) as client:
        assert client.get("/api/run").status_code == 200
        assert client.get("/api/do").json()["allowed"] is False
        answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert client.get("/api/do").json()["allowed"] is True


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("preview", {"stack": "0" * 16 + "-0-0-0", "model": "fast"}, 404),
        ("preview", {"stack": 3, "model": "fast"}, 400),
        ("again", {"entries": [], "model": "fast"}, 400),
        ("again", {"entries": ["0" * 16] * 501, "model": "fast"}, 400),
        ("again", {"entries": ["../../etc"], "model": "fast"}, 404),
        ("daemon", {"wish": "kill"}, 400),
        ("daemon", [], 400),
    ],
)
def test_what_is_asked_is_not_believed(
    recorded: Recorded, path: str, body: Any, status: int
) -> None:
    with client_of(recorded.root, recorded.journal, token=TOKEN) as client:
        answer = client.post(f"/api/do/{path}", json=body, headers=BEARER)
        assert answer.status_code == status, answer.text
        known = entries(client)[0]["id"]
        for model in ("/etc/passwd", "../fast", "http://evil.example/m.onnx", ""):
            body = {"entries": [known], "model": model}
            assert client.post("/api/do/again", json=body, headers=BEARER).status_code == 400
        long = client.post("/api/do/again", content=b"[" * 70_000, headers={
            **BEARER, "Content-Type": "application/json"})  # fmt: skip
        assert long.status_code == 413


def test_paused_it_begins_nothing_and_goes_on_where_it_was(
    recorded: Recorded, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    own = Recorded(root, tmp_path / "state", recorded.model)
    flags = ("--plain", "--model", str(own.model), "--device", "cpu")
    with watching(own.state, root, *flags) as daemon:
        wait_for(own.journal.exists, "the journal", 30)
        with client_of(root, own.journal, token=TOKEN) as client:
            wait_for(lambda: client.get("/api/run").json()["watched"], "the daemon", 30)

            def ask(wish: str) -> None:
                body = {"wish": wish}
                answer = client.post("/api/do/daemon", json=body, headers=BEARER)
                assert answer.status_code == 202, answer.text

            ask("pause")
            wait_for(lambda: client.get("/api/run").json()["paused"], "the pause", 30)
            for number, name in enumerate("ab", 1):  # one by one: found together, either is first
                write_file(root / f"{name}.ome.tif", spots(1))
                wait_for(lambda n=number: client.get("/api/run").json()["backlog"] == n, name, 30)
            time.sleep(0.5)
            assert not (root / "restored").exists()
            ask("newest-first")
            wait_for(lambda: client.get("/api/run").json()["newest_first"], "the order", 30)
            ask("resume")
            wait_for(lambda: client.get("/api/run").json()["counts"]["done"] == 2, "both", 30)
        report = {n: (root / "restored" / f"{n}.json").stat().st_mtime_ns for n in "ab"}
        assert report["b"] < report["a"], "the newest first"
        code, log = stop(daemon)
        assert code == 0, log


def test_what_is_asked_while_the_daemon_still_starts_is_heard(tmp_path: Path) -> None:
    """Displays see the lock before the daemon looks for wishes for the first time."""
    send_wish(tmp_path / "j.wishes", Wish.NEWEST_FIRST)
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="r") as journal:
        send_wish(tmp_path / "j.wishes", Wish.PAUSE)
        orders = Orders()
        folder, opened = tmp_path / "j.wishes", journal.opened_ns
        Control(folder, journal.facts, Progress(), orders, opened).poll()
        assert (orders.paused, orders.newest_first) == (True, False)
        assert journal.facts.last_run().paused


def test_wishes_are_taken_in_order_once_and_others_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "j.wishes"
    assert take_wishes(folder) == []
    for wish in (Wish.PAUSE, Wish.NEWEST_FIRST, Wish.RESUME):
        send_wish(folder, wish)
    (folder / "holiday.txt").touch()
    (folder / f"{1:020d}-00000000.explode").touch()
    assert take_wishes(folder) == [Wish.PAUSE, Wish.NEWEST_FIRST, Wish.RESUME]
    assert take_wishes(folder) == []
    assert len(list(folder.iterdir())) == 2
    send_wish(folder, Wish.PAUSE)
    now = time.time_ns()
    send_wish(folder, Wish.RESUME)
    assert take_wishes(folder, now) == [Wish.RESUME], "one was asked of the process before"
    assert len(list(folder.iterdir())) == 2
