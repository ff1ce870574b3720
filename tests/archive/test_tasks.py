"""What is asked of a worker, and what it answers: nothing is lost on the way, nothing let in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from live_restore.archive.desk import seen_at
from live_restore.archive.task import (
    Archive,
    PublishedThere,
    Task,
    TaskAnswer,
    answer_text,
    from_text,
    settings_of,
    settings_text,
    to_text,
)
from live_restore.cluster.values import DamagedMessageError
from live_restore.errors import LiveRestoreError, OutputError, UsageError
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.stack import StackIndex

CAMERA = {"gain_adu_per_e": 2.0, "offset_adu": 100.0, "read_noise_e": 1.5}
GIVEN = {
    "inference": {"percentiles": [1.0, 99.0], "device": "cpu", "threads": 3},
    "camera": CAMERA,
    "output": {"units": "camera-float", "template": "/data/out/{name}.ome.tif"},
    "models": [{"channels": ["DIC"], "skip": True}, {"model": "fast"}],
    "files": {"undeclared_axis": "Z"},
}


def test_a_worker_restores_as_the_client_would_on_its_own_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, own = load_settings(None, GIVEN), load_settings(None, {"inference": {"threads": 1}})
    monkeypatch.setenv("LIVE_RESTORE_OUTPUT__UNITS", "camera")
    there = settings_of(settings_text(client), own, lambda path: Path(path))
    assert there.pixel_digest() == client.pixel_digest()
    assert there.models == client.models
    assert (there.inference.device, there.inference.threads) == ("auto", 1)
    assert there.output.template == client.output.template
    assert there.journal == own.journal


def test_paths_in_settings_are_those_of_shared_storage_there() -> None:
    given = {**GIVEN, "camera": {**CAMERA, "bad_pixels": "/data/map.tif"}}
    there = settings_of(settings_text(load_settings(None, given)), load_settings(),
                        lambda path: Path(path.replace("/data", "/mnt")))  # fmt: skip
    assert there.output.template == "/mnt/out/{name}.ome.tif"
    assert there.camera is not None
    assert there.camera.bad_pixels == Path("/mnt/map.tif")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"inference": 1}', '{"inference": {}, "output": {}, "cameras": {}}',
     '{"inference": {}, "output": {}, "cameras": [], "models": "fast"}'],
)  # fmt: skip
def test_settings_that_are_none_are_refused(text: str) -> None:
    with pytest.raises((DamagedMessageError, ValueError)):
        settings_of(text, load_settings(), Path)


@pytest.mark.parametrize("path", ["../a.tif", "/etc/passwd", "a/../../b.tif"])
def test_a_worker_is_led_nowhere_but_into_the_archive(path: str) -> None:
    with pytest.raises(DamagedMessageError, match="not inside"):
        _ = Task(path, None, 1, 1).key


def test_tasks_and_answers_arrive_as_they_were() -> None:
    task = Task("day/run_1", (0, 4, 1), 100, 2**62, format="ndtiff")
    assert from_text(Task, to_text(task)) == task
    assert task.entry().key.index == StackIndex(0, 4, 1)
    result = PublishedThere("../run_1_restored/a.ome.tif", "a.json", True, 1.5, {"network": 1.0})
    answer = TaskAnswer("restored", result, ((0, 1, 2, "failed", "why"),), error="", seen=(1, 2))
    back = from_text(TaskAnswer, to_text(answer))
    assert back == answer
    assert back.remainder.left == {StackIndex(0, 1, 2): (State.FAILED, "why")}
    assert back.result is not None
    assert back.result.here(Path("/a/run_1")).image == Path("/a/run_1_restored/a.ome.tif")


def test_only_errors_of_ours_are_made_of_what_a_worker_says() -> None:
    assert isinstance(TaskAnswer("error", error="OutputError").as_error(), OutputError)
    for name in ("SystemExit", "one_line", "__doc__", "Path", ""):
        assert type(TaskAnswer("error", error=name).as_error()) is LiveRestoreError
    assert not isinstance(TaskAnswer("error", error="OutputError").as_error(), UsageError)


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(DamagedMessageError, match="no state"):
        _ = TaskAnswer("restored", left=((0, 0, 0, "gone", ""),)).remainder


def test_right_answers_travel_to_the_bit() -> None:
    right = np.random.default_rng(0).random((1, 1, 2, 3, 4), dtype=np.float32)
    archive = Archive("/a", "r", "{}", {}, {"d": answer_text(right), "bad": "?"})
    back = from_text(Archive, to_text(archive))
    assert back.right_answer("d").tobytes() == right.tobytes()
    for digest in ("bad", "none"):
        with pytest.raises(DamagedMessageError, match="right answer"):
            back.right_answer(digest)
    assert json.loads(to_text(archive))["version"]


def test_a_share_that_does_not_answer_is_not_seen_and_ends_no_worker(tmp_path: Path) -> None:
    """Whatever a worker raises counts as its death, and against the stack that it had."""
    assert seen_at(tmp_path) == (0, 0)
    assert seen_at(tmp_path / "gone") is None
    # As by such a share: another error than that nothing is there, which is_dir() raises.
    assert seen_at(tmp_path / ("x" * 300)) is None
