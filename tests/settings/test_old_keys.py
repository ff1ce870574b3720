"""Settings under their old names: still read, reported in one line, refused beside the new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from live_restore.cli.main import main
from live_restore.errors import SettingsError
from live_restore.settings.load import load_settings
from live_restore.settings.model import Settings
from live_restore.settings.old_keys import OLD_KEYS

OLD: dict[str, Any] = {"output": {"datasets": "ome-zarr"}}
NEW_VARIABLE = "LIVE_RESTORE_OUTPUT__ACQUISITIONS"
VARIABLE = "LIVE_RESTORE_OUTPUT__DATASETS"
NOW = "output.datasets is now called output.acquisitions; the old name still works"


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(path: Path | None = None, flags: dict[str, Any] | None = None) -> tuple[str, list[str]]:
    """Return what the renamed setting is, and what was reported."""
    notices: list[str] = []
    settings = load_settings(path, flags, notices.append)
    return settings.output.acquisitions, notices


def test_every_old_key_leads_to_one_that_there_is() -> None:
    for old, new in OLD_KEYS.items():
        for place, there in ((old, False), (new, True)):
            section: Any = Settings.model_fields[place[0]].annotation
            assert (place[1] in section.model_fields) is there, place


def test_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[output]\ndatasets = "ome-zarr"\nunits = "network"')
    value, (line,) = loaded(path)
    assert value == "ome-zarr"
    assert line.startswith(f"{path}: {NOW}")
    assert load_settings(path, None, lambda _: None).output.units == "network"


def test_in_a_flag() -> None:
    value, (line,) = loaded(None, OLD)
    assert value == "ome-zarr"
    assert line.startswith(f"a flag: {NOW}")


@pytest.mark.parametrize(
    ("name", "text"),
    [(VARIABLE, "ome-zarr"), ("LIVE_RESTORE_OUTPUT", '{"datasets": "ome-zarr"}')],
)
def test_in_the_environment_which_overrides_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    value, (line,) = loaded()
    assert value == "ome-zarr"
    assert line.startswith(f"{name}: {NOW}")
    value, notices = loaded(written(tmp_path, '[output]\ndatasets = "ome-tiff"'))
    assert value == "ome-zarr"
    assert len(notices) == 2, "both places need the new name"


def test_the_new_name_is_not_reported() -> None:
    assert loaded(None, {"output": {"acquisitions": "ome-zarr"}}) == ("ome-zarr", [])
    assert loaded() == ("ome-tiff", [])


def test_both_names_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "output.datasets is the old name of output.acquisitions, and both are given"
    path = written(tmp_path, '[output]\ndatasets = "ome-zarr"\nacquisitions = "ome-zarr"')
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert str(caught.value) == f"{path}: {said}; remove output.datasets"
    monkeypatch.setenv(VARIABLE, "ome-tiff")
    monkeypatch.setenv(NEW_VARIABLE, "ome-zarr")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{VARIABLE}: {said}; remove output.datasets"


@pytest.mark.parametrize("variable", [VARIABLE, NEW_VARIABLE])
@pytest.mark.parametrize("key", ["datasets", "acquisitions"])
def test_the_environment_overrides_whatever_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, key: str
) -> None:
    monkeypatch.setenv(variable, "ome-zarr")
    value, notices = loaded(written(tmp_path, f'[output]\n{key} = "ome-tiff"'))
    assert value == "ome-zarr"
    assert len(notices) == (variable == VARIABLE) + (key == "datasets")
    assert all(NOW in line for line in notices)


def test_a_flag_overrides_a_file_whatever_the_names(tmp_path: Path) -> None:
    path = written(tmp_path, '[output]\ndatasets = "ome-tiff"')
    assert loaded(path, {"output": {"acquisitions": "ome-zarr"}})[0] == "ome-zarr"
    path = written(tmp_path, '[output]\nacquisitions = "ome-tiff"')
    assert loaded(path, OLD)[0] == "ome-zarr"


def test_a_wrong_value_is_refused_under_the_new_name_after_it_was_reported(tmp_path: Path) -> None:
    reported: list[str] = []
    with pytest.raises(SettingsError, match=r"output\.acquisitions: .*given: 'png'"):
        load_settings(written(tmp_path, '[output]\ndatasets = "png"'), notice=reported.append)
    assert len(reported) == 1
    assert "output.datasets is now called output.acquisitions" in reported[0]


@pytest.mark.parametrize("text", ["output = 3", "[output.datasets]\nx = 1"])
def test_nonsense_at_its_place_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError):
        load_settings(written(tmp_path, text), None, lambda _: None)


def test_a_program_that_asks_for_no_notices_gets_a_warning() -> None:
    with pytest.warns(FutureWarning, match="is now called"):
        load_settings(None, OLD)


def test_a_command_prints_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, '[output]\ndatasets = "ome-tiff"\n[[models]]\nskip = true')
    assert main(["models", "--json", "--config", str(path)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"live-restore: {path}: {NOW}, write the new one"
    ]
