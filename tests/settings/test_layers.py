"""Which file, flag or variable gives a setting, and who is blamed for a wrong one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from live_restore.errors import SettingsError
from live_restore.settings.layers import computer_file, user_file
from live_restore.settings.load import load_settings, load_with_origins
from tests.support.processes import run_command
from tests.support.systems import posix


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files of the computer, of the user and of ``--config``; none is there yet."""
    names = ["computer.toml", "user.toml", "folder.toml"]
    paths = [tmp_path / str(number) / name for number, name in enumerate(names)]
    for path in paths:
        path.parent.mkdir()
    monkeypatch.setenv("LIVE_RESTORE_COMPUTER_CONFIG", str(paths[0]))
    monkeypatch.setenv("LIVE_RESTORE_USER_CONFIG", str(paths[1]))
    return paths


def test_the_higher_one_wins_and_origins_tell_which(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    computer, user, folder = files
    computer.write_text("[watch]\nstall_s = 1\nsettle_s = 1\nquiet_s = 1\nscan_interval_s = 1\n")
    user.write_text("[watch]\nstall_s = 2\nsettle_s = 2\nquiet_s = 2\n")
    folder.write_text("[watch]\nstall_s = 3\nsettle_s = 3\n")
    monkeypatch.setenv("LIVE_RESTORE_WATCH__NEWEST_FIRST", "true")
    settings, origins = load_with_origins(folder, {"watch": {"stall_s": 4}})
    watch = settings.watch
    assert [watch.stall_s, watch.settle_s, watch.quiet_s, watch.scan_interval_s] == [4, 3, 2, 1]
    keys = ("stall_s", "settle_s", "quiet_s", "scan_interval_s", "newest_first", "recursive")
    assert [origins.of("watch", key) for key in keys] == [
        "a flag", str(folder), str(user), str(computer),
        "LIVE_RESTORE_WATCH__NEWEST_FIRST", "default",
    ]  # fmt: skip


def test_paths_are_relative_to_the_file_that_names_them(files: list[Path]) -> None:
    files[0].write_text('[journal]\nfolder = "journals"\n')
    files[1].write_text('[[models]]\nmodel = "own/cells.onnx"\n')
    settings = load_settings()
    assert settings.journal.folder == files[0].parent / "journals"
    assert Path(settings.models[0].model) == files[1].parent / "own/cells.onnx"


@pytest.mark.parametrize("wrong", [0, 1, 2])
@pytest.mark.parametrize(
    "text", ['[watch]\nstall_s = "soon"\n', "[watch]\nstal_s = 1\n", "[[models]]\nmodle = 'x'\n"]
)
def test_the_file_that_is_wrong_is_named(files: list[Path], wrong: int, text: str) -> None:
    for path in files:
        path.write_text("[watch]\nquiet_s = 5\n")
    files[wrong].write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings(files[2])
    assert str(files[wrong]) in str(refused.value)


def test_a_file_of_all_that_cannot_be_read_is_not_passed_by(files: list[Path]) -> None:
    files[0].mkdir()
    with pytest.raises(SettingsError, match="make it readable for this user, or remove it"):
        load_settings()


@posix
def test_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIVE_RESTORE_COMPUTER_CONFIG", "LIVE_RESTORE_USER_CONFIG"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/a/.config")
    assert computer_file() == Path("/etc/live-restore/config.toml")
    assert user_file() == Path("/home/a/.config/live-restore/config.toml")


def test_show_is_toml_that_gives_the_same_settings(files: list[Path], tmp_path: Path) -> None:
    files[0].write_text(
        '[inference]\ndevice = "cpu"\npercentiles = [1, 99]\n[[models]]\nmodel = "standard"\n'
    )
    shown = run_command(tmp_path, "config", "show")
    assert shown.returncode == 0, shown.stderr
    (device,) = [line for line in shown.stdout.splitlines() if "inference.device" in line]
    assert device.startswith('inference.device = "cpu"')
    assert device.endswith(f"# {files[0]}")
    again = tmp_path / "again.toml"
    again.write_text(shown.stdout, encoding="utf-8")
    assert tomllib.loads(shown.stdout)["models"][0]["model"] == "standard"
    told = json.loads(run_command(tmp_path, "config", "show", "--json").stdout)
    files[0].unlink()
    replayed = run_command(tmp_path, "config", "show", "--json", "--config", again)
    assert replayed.returncode == 0, replayed.stderr
    values = [{each["key"]: each["value"] for each in json.loads(replayed.stdout)["settings"]}]
    assert values == [{each["key"]: each["value"] for each in told["settings"]}]
    assert told["files"]["computer"] == {"path": str(files[0]), "exists": True}


def test_check_looks_at_models_too(files: list[Path], tmp_path: Path) -> None:
    good = run_command(tmp_path, "config", "check")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.endswith("the settings are right\n")
    files[1].write_text('[[models]]\nmodel = "fsat"\n')
    bad = run_command(tmp_path, "config", "check")
    assert bad.returncode == 2
    assert "fsat" in bad.stderr
    assert bad.stderr.count("\n") == 1
