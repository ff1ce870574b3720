"""Fresh folders: never one that is there, and every refusal in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from live_restore.errors import OutputError
from live_restore.files import user_folders
from live_restore.files.user_folders import fresh_folder, state_folder, unsaved_folder


def test_a_fresh_folder_is_never_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "in" / "run").mkdir(parents=True)
    (tmp_path / "in" / "run-2").touch()
    made = [fresh_folder(tmp_path / "in", "run").name for _ in range(2)]
    assert made == ["run-3", "run-4"]
    assert fresh_folder(tmp_path / "new").is_dir()


def test_a_fresh_folder_of_no_name_is_called_after_the_time(tmp_path: Path) -> None:
    assert fresh_folder(tmp_path).name.replace("-", "").isdigit()


def test_refusals_name_the_folder_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.*cannot be created .*; go elsewhere"):
        fresh_folder(tmp_path / "file", "run", "go elsewhere")
    monkeypatch.setattr(user_folders, "_MOST_OF_A_NAME", 3)
    fresh_folder(tmp_path, "run")
    fresh_folder(tmp_path, "run")
    with pytest.raises(OutputError, match="too many folders called run; remove some"):
        fresh_folder(tmp_path, "run")


@pytest.mark.skipif(os.name != "posix", reason="the variable is that of Linux")
def test_the_state_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVE_RESTORE_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "live-restore"


def test_a_variable_names_another_place_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_RESTORE_STATE", str(tmp_path))
    assert state_folder() == tmp_path
    assert unsaved_folder() == tmp_path / "unsaved"
