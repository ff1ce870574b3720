"""``[[watch]]``: several folders in one file, each with its own settings above the common ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from live_restore.cli.main import main
from live_restore.errors import SettingsError
from live_restore.settings.load import (
    load_settings,
    load_with_origins,
    watched_folder_of,
    watched_folders,
)
from tests.support.processes import run_command
from tests.support.systems import needs_links


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Return a settings file of two folders beside it."""
    for name in ("cells", "screens"):
        (tmp_path / name).mkdir()
    return written(
        tmp_path / "config.toml",
        """
        [inference]
        device = "cpu"
        threads = 3
        [[watch]]
        folder = "cells"
        [[watch]]
        folder = "screens"
        stall_s = 7
        [watch.inference]
        threads = 1
        [[watch.models]]
        model = "own/net.onnx"
        [watch.journal]
        folder = "journals"
        """,
    )


def test_each_folder_has_its_own_above_the_common_ones(two: Path) -> None:
    here = two.parent
    assert [each.folder for each in watched_folders(two)] == [here / "cells", here / "screens"]
    cells, screens = (load_settings(two, folder=here / name) for name in ("cells", "screens"))
    assert (cells.watch.stall_s, cells.inference.threads, cells.models[0].model) == (600, 3, "fast")
    assert (screens.watch.stall_s, screens.inference.threads) == (7, 1)
    assert {cells.inference.device, screens.inference.device} == {"cpu"}
    # Paths are relative to the file, as elsewhere in it.
    assert Path(screens.models[0].model) == here / "own/net.onnx"
    assert screens.journal.folder == here / "journals"


def test_no_folder_or_another_has_what_is_common(two: Path) -> None:
    for folder in (None, two.parent / "cells" / "run_1", two.parent):
        settings = load_settings(two, folder=folder)
        assert (settings.watch.stall_s, settings.inference.threads) == (600, 3)


def test_who_gave_it_names_the_entry(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = two.parent / "screens"
    monkeypatch.setenv("LIVE_RESTORE_INFERENCE__DEVICE", "auto")
    _, origins = load_with_origins(two, {"models": [{"model": "fast"}]}, folder=folder)
    assert origins.of("watch", "stall_s") == f"{two}, [[watch]] of {folder}"
    assert origins.of("inference", "threads") == f"{two}, [[watch]] of {folder}"
    assert origins.of("inference", "device") == "LIVE_RESTORE_INFERENCE__DEVICE"
    assert origins.of("models") == "a flag"


def test_a_higher_file_decides_above_a_folder_of_a_lower_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = written(
        tmp_path / "computer.toml",
        '[[watch]]\nfolder = "cells"\nstall_s = 1\nquiet_s = 1\n',
    )
    user = written(tmp_path / "user.toml", "[watch]\nstall_s = 2\n")
    monkeypatch.setenv("LIVE_RESTORE_COMPUTER_CONFIG", str(computer))
    monkeypatch.setenv("LIVE_RESTORE_USER_CONFIG", str(user))
    watch = load_settings(folder=tmp_path / "cells").watch
    assert (watch.stall_s, watch.quiet_s) == (2, 1)
    user.write_text('[[watch]]\nfolder = "mine"\n', encoding="utf-8")
    assert [each.folder for each in watched_folders()] == [tmp_path / "mine"]
    assert load_settings(folder=tmp_path / "cells").watch.stall_s == 600


@needs_links
def test_a_folder_is_the_same_through_a_link(two: Path) -> None:
    (two.parent / "link").symlink_to(two.parent / "screens")
    assert load_settings(two, folder=two.parent / "link").watch.stall_s == 7
    for run in ("link", "link/run_1", "link/cell.tif"):
        assert watched_folder_of(two.parent / run, two) == two.parent / "screens"


def test_a_run_belongs_to_the_folder_that_is_watched_with_it(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = two.parent / "cells"
    (cells / "day" / "run_1").mkdir(parents=True)
    (cells / "cell.tif").touch()
    for run in (cells, cells / "cell.tif", cells / "day" / "run_1", cells / "day" / "none.tif"):
        assert watched_folder_of(run, two) == cells
    monkeypatch.chdir(cells / "day")
    assert watched_folder_of(Path("run_1"), two) == cells
    for other in (two.parent, two.parent / "cells 2"):
        assert watched_folder_of(other, two) is None
    written(two, f"[[watch]]\nfolder = '{cells}'\nrecursive = false\n")
    assert watched_folder_of(cells / "cell.tif", two) == cells
    assert watched_folder_of(cells / "day" / "run_1", two) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[watch]]\nstall_s = 1", "watch.0.folder is missing; add it"),
        ("[[watch]]\nfolder = 3", "watch.0.folder: "),
        ("[[watch]]\nfolder = ''", "watch.0.folder: not the name of a folder"),
        ('[[watch]]\nfolder = "a\\u0000b"', "watch.0.folder: not the name of a folder"),
        ("[[watch]]\nfolder = '~nobody-here/x'", "nobody's home"),
        ("watch = [3]", "watch.0 is not a table"),
        ("[[watch]]\nfolder = 'a'\nstal_s = 1", "watch.0.stal_s is not a setting; did you mean "
         "watch.stall_s?"),
        ("[[watch]]\nfolder = 'a'\n[watch.infernce]\nthreads = 1", "did you mean watch.inference?"),
        ("[[watch]]\nfolder = 'a'\n[[watch]]\nfolder = './a'", "a twice in [[watch]]"),
        ("[[watch]]\nfolder = 'a'\n[[watch]]\nfolder = 'b/../a'", "a twice in [[watch]]"),
        ("[[watch]]\nfolder = 'b/../a/c'\n[[watch]]\nfolder = 'a'", "which is inside"),
        ("[watch]\nstall_s = 1\n[[watch]]\nfolder = 'a'", "holds both [watch] and [[watch]]"),
        ("[[watch]]\nfolder = 'a/b'\n[[watch]]\nfolder = 'a'", "which is inside"),
        ("[[watch]]\nfolder = 'a'\n[[watch]]\nfolder = 'a/b'", "which is inside"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path / "config.toml", text)
    with pytest.raises(SettingsError) as refused:
        load_settings(path)
    assert str(refused.value).startswith(str(path))
    assert said in str(refused.value)


@needs_links
@pytest.mark.parametrize("command", [("watch",), ("watch", "--once"), ("status",)])
def test_a_folder_that_is_named_twice_through_a_link(
    two: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (two.parent / "screens").rmdir()
    (two.parent / "screens").symlink_to(two.parent / "cells")
    assert main([*command, "--config", str(two)]) == 2
    assert "is the same folder as" in capsys.readouterr().err


def test_a_wrong_value_of_a_folder_names_its_entry(tmp_path: Path) -> None:
    path = written(tmp_path / "config.toml", "[[watch]]\nfolder = 'a'\nstall_s = -1\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(path, folder=tmp_path / "a")
    assert f"{path}, [[watch]] of {tmp_path / 'a'}: watch.stall_s: " in str(refused.value)


def test_a_folder_may_lie_in_one_that_is_watched_without_its_sub_folders(tmp_path: Path) -> None:
    path = written(
        tmp_path / "config.toml",
        "[[watch]]\nfolder = 'a'\nrecursive = false\n[[watch]]\nfolder = 'a/b'\n",
    )
    assert len(watched_folders(path)) == 2


@pytest.mark.parametrize("entry", ["", "[[watch]]\nfolder = 'a'\n"])
def test_the_file_of_the_computer_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    section = "watch.alerts" if entry else "alerts"
    text = f"{entry}[{section}]\nto = ['mailto://me:password@example.org']\n"
    path = written(tmp_path / "config.toml", text)
    assert load_settings(path).alerts.wanted is not bool(entry)
    monkeypatch.setenv("LIVE_RESTORE_COMPUTER_CONFIG", str(path))
    with pytest.raises(SettingsError, match="every user of this computer can read") as refused:
        load_settings()
    assert "password@" not in str(refused.value)


def test_config_shows_and_checks_every_folder(two: Path) -> None:
    state = two.parent / "state"
    checked = run_command(state, "config", "check", "--config", two)
    assert checked.returncode == 2
    assert str(Path("own/net.onnx")) in checked.stderr
    good = two.read_text(encoding="utf-8").replace("own/net.onnx", "standard")
    two.write_text(good, encoding="utf-8")
    checked = run_command(state, "config", "check", "--config", two)
    assert checked.returncode == 0, checked.stderr
    told = json.loads(run_command(state, "config", "show", "--config", two, "--json").stdout)
    assert told["folders"] == [
        {"folder": str(two.parent / "cells"), "own": []},
        {
            "folder": str(two.parent / "screens"),
            "own": ["watch.stall_s", "inference.threads", "models", "journal.folder"],
        },
    ]
    shown = run_command(state, "config", "show", two.parent / "screens", "--config", two)
    (line,) = [e for e in shown.stdout.splitlines() if e.startswith("inference.threads = 1")]
    assert line.endswith(f"# {two}, [[watch]] of {two.parent / 'screens'}")
    assert f"# [[watch]] {two.parent / 'screens'}; for it alone: watch.stall_s" in shown.stdout
    (two.parent / "cells").rmdir()
    shown = run_command(state, "config", "show", "--config", two)
    assert f"# [[watch]] {two.parent / 'cells'} (not there)" in shown.stdout
