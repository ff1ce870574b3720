"""Settings: the example file, the order of authority, and every way to get one wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from live_restore.errors import SettingsError
from live_restore.settings.camera import CameraSettings, OneOfSeveralCameras
from live_restore.settings.load import load_settings
from live_restore.settings.model import InferenceSettings, Settings

EXAMPLE = Path(__file__).resolve().parents[2] / "config.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, flags: dict[str, Any] | None = None) -> str:
    """Return the one line with which settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings(path, flags)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def example_keys(text: str) -> dict[str, set[str]]:
    """Return the keys of each section in a TOML text, those behind a ``#`` too."""
    found: dict[str, set[str]] = {}
    section = ""
    for line in text.splitlines():
        if header := re.fullmatch(r"(?:# )?\[{1,2}(\w+)\]{1,2}", line):
            section = header.group(1)
            found.setdefault(section, set())
        elif key := re.match(r"(?:# (?!channels|skip))?([a-z_]+) = \S", line):
            found[section].add(key.group(1))
    return found


def test_the_example_says_the_defaults() -> None:
    assert load_settings(EXAMPLE) == load_settings()


def test_the_example_names_every_key_and_no_other() -> None:
    expected = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if name == "models":
            expected[name] = {"channels", "model", "steps", "skip"}
        elif name == "camera":
            expected[name] = set(CameraSettings.model_fields)
        elif name == "cameras":
            expected[name] = set(OneOfSeveralCameras.model_fields) - {"channels"}
        else:
            assert isinstance(section, type)
            expected[name] = set(section.model_fields)  # type: ignore[attr-defined]
    assert example_keys(EXAMPLE.read_text(encoding="utf-8")) == expected


def test_every_key_of_the_example_is_commented() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if re.match(r"[a-z_]+ = ", line):
            assert "#" in line or before.startswith("#") or line.startswith("skip"), line


def test_seconds_carry_their_unit_in_comment_and_name() -> None:
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if re.match(r"\w+_s = ", line):
            assert "(seconds)" in line or "seconds" in line, line


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[watch]\nsetle_s = 1", "watch.setle_s", "watch.settle_s"),
        ("[wacth]\n", "wacth", "watch"),
        ("[inference]\npercentile = [1, 2]", "inference.percentile", "inference.percentiles"),
        ('[[models]]\nmodle = "x"', "models.0.modle", "models.0.model"),
        ("zzz = 1", "zzz", ""),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    path = written(tmp_path, text)
    said = refusal(path)
    assert said.startswith(f"{path}: {key} is not a setting; did you mean {nearest}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[watch]\nstall_s = "soon"', "watch.stall_s"),
        ("[watch]\nstall_s = 0", "watch.stall_s"),
        ("[watch]\nstall_s = -1", "watch.stall_s"),
        ("[watch]\nscan_interval_s = inf", "watch.scan_interval_s"),
        ("[journal]\nlease_s = nan", "journal.lease_s"),
        ("[watch]\nrecursive = 7", "watch.recursive"),
        ("watch = 3", "watch"),
        ("[inference]\ndevice = 'gpu'", "inference.device"),
        ("[inference]\ndevice = 'cuda:x'", "inference.device"),
        ("[inference]\ndevice = 'cuda, '", "inference.device"),
        ("[inference]\ndevice = 'auto, cuda'", "inference.device"),
        ("[inference]\ndevice = 'cuda, cuda:0'", "inference.device"),
        ("[inference]\nthreads = -1", "inference.threads"),
        ("[inference]\nthreads = 1.5", "inference.threads"),
        ("[inference]\nthreads = 1025", "inference.threads"),
        ("[inference]\nmax_tile_mvoxel = inf", "inference.max_tile_mvoxel"),
        ("[inference]\npercentiles = [99, 1]", "inference"),
        ("[inference]\npercentiles = [2, nan]", "inference"),
        ("[inference]\npercentiles = [1, 2, 3]", "inference.percentiles"),
        ("[inference]\noverlap_zyx = [1, -2, 3]", "inference"),
        ("[journal]\nmax_attempts = 0", "journal.max_attempts"),
        ("[output]\ntemplate = '{folder}/x.ome.tif'", "output.template"),
        ("[output]\ntemplate = '{folder}/{name}.tif'", "output.template"),
        ("[output]\ntemplate = '{folder}/{nam}.ome.tif'", "output.template"),
        ("[output]\ntemplate = '{folder}/{name.x}{name}.ome.tif'", "output.template"),
        ("[output]\ntemplate = '{folder}/{{name}}.ome.tif'", "output.template"),
        ("[output]\ntemplate = '{folder}/{name:>9999999999}{name}.ome.tif'", "output.template"),
        ("[output]\ntemplate = '{folder/{name}.ome.tif'", "output.template"),
        ("[output]\ntemplate = '{}/{name}.ome.tif'", "output.template"),
        ("[output]\ntemplate = '{name}.ome.tif'", "output.template"),
        ("[output]\ntemplate = 'out/{folder}/{name}.ome.tif'", "output.template"),
        ("[output]\ntemplate = '~nobody-here/{name}.ome.tif'", "output.template"),
        ("[journal]\nfolder = '~nobody-here/x'", "journal.folder"),
        ("[log]\nlevel = 'loud'", "log.level"),
        ("models = []", "settings"),
        ("models = 3", "models"),
        ("[[models]]\nchannels = 3", "models.0.channels"),
        ("[[models]]\nchannels = [true]", "models.0.channels.0"),
        ("[[models]]\nchannels = [1.5]", "models.0.channels.0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path: Path, text: str, key: str) -> None:
    path = written(tmp_path, text)
    assert refusal(path).startswith(f"{path}: {key}: ")


def test_no_toml_no_file_and_no_text(tmp_path: Path) -> None:
    assert "is not valid TOML" in refusal(written(tmp_path, "a = \n"))
    assert "cannot be read" in refusal(tmp_path / "absent.toml")
    assert "cannot be read" in refusal(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "is not valid TOML" in refusal(binary)


def test_environment_over_flags_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, '[inference]\ndevice = "cuda:1"\nthreads = 3\n[watch]\nstall_s = 5')
    assert load_settings(path).inference.device == "cuda:1"
    flags = {"inference": {"device": "cuda"}}
    settings = load_settings(path, flags)
    assert (settings.inference.device, settings.inference.threads) == ("cuda", 3)
    monkeypatch.setenv("LIVE_RESTORE_INFERENCE__DEVICE", "cpu")
    monkeypatch.setenv("LIVE_RESTORE_WATCH__STALL_S", "120")
    settings = load_settings(path, flags)
    assert (settings.inference.device, settings.inference.threads) == ("cpu", 3)
    assert settings.watch.stall_s == 120


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LIVE_RESTORE_WATCH__STALL_S", "x", "watch.stall_s: "),
        ("LIVE_RESTORE_WATCH__STAL_S", "1", "did you mean watch.stall_s?"),
        ("LIVE_RESTORE_MODELS", "garbage", "not valid JSON"),
        ("LIVE_RESTORE_INFERENCE__PERCENTILES", "abc", "inference.percentiles: "),
        ("LIVE_RESTORE_INFERENCE__PERCENTILES", "[99, 1]", "inference: "),
        ("LIVE_RESTORE_MODELS", '[{"modle": "x"}]', "did you mean models.0.model?"),
        ("LIVE_RESTORE_JOURNAL__FOLDER", "~nobody-here/x", "journal.folder: "),
        ("LIVE_RESTORE_WACTH__STALL_S", "3", "did you mean LIVE_RESTORE_WATCH__STALL_S?"),
        ("LIVE_RESTORE_WATCH_STALL_S", "3", "did you mean LIVE_RESTORE_WATCH__STALL_S?"),
        ("LIVE_RESTORE_", "3", "is not a setting"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert said in refusal(None)
    told = refusal(written(tmp_path, "[watch]\nquiet_s = 1"))
    assert said in told
    assert name in told
    assert "config.toml" not in told


def test_a_wrong_value_of_the_file_is_not_blamed_on_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_RESTORE_WATCH__STALL_S", "3")
    path = written(tmp_path, "[watch]\nquiet_s = -1")
    assert refusal(path).startswith(f"{path}: watch.quiet_s: ")


def test_the_variable_of_the_tests_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVE_RESTORE_SHARED", "/somewhere")
    load_settings()


def test_homes_and_places_do_not_depend_on_where_the_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "{me}"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "{me}"))
    text = "[output]\ntemplate = '~/out/{name}.ome.tif'\n[journal]\nfolder = '~/state'"
    settings = load_settings(written(tmp_path, text))
    made = Path(settings.output.template.format(folder="f", name="n"))
    assert made == tmp_path / "{me}" / "out" / "n.ome.tif"
    assert settings.journal.folder == tmp_path / "{me}" / "state"
    monkeypatch.setenv("LIVE_RESTORE_JOURNAL__FOLDER", "~/mine")
    assert load_settings().journal.folder == tmp_path / "{me}" / "mine"
    monkeypatch.setenv("LIVE_RESTORE_JOURNAL__FOLDER", "mine")
    monkeypatch.chdir(tmp_path)
    assert load_settings().journal.folder == tmp_path / "mine"


def test_channels_may_be_numbers(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, '[[models]]\nchannels = [0, "GFP"]'))
    assert settings.models[0].channels == ("0", "GFP")


def test_variables_hold_lists_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVE_RESTORE_INFERENCE__PERCENTILES", "[1, 99]")
    assert load_settings().inference.percentiles == (1, 99)


def test_paths_in_the_file_are_relative_to_it(tmp_path: Path) -> None:
    text = (
        '[journal]\nfolder = "state"\n[[models]]\nmodel = "mine.onnx"\n[[models]]\nmodel = "fast"'
    )
    settings = load_settings(written(tmp_path, text))
    assert settings.journal.folder == tmp_path / "state"
    assert settings.models[0].model == str(tmp_path / "mine.onnx")
    assert settings.models[1].model == "fast"


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.watch.stall_s = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.watch = settings.watch  # type: ignore[misc]


CAMERA = {"gain_adu_per_e": 2.17, "offset_adu": 100, "read_noise_e": 1.6}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"camera": {"gain_adu_per_e": 0.5, "offset_adu": 1}}, "camera.read_noise_e is missing"),
        ({"camera": {**CAMERA, "gain_adu_per_e": 0}}, "greater than or equal to"),
        ({"camera": {**CAMERA, "read_noise_e": float("nan")}}, "camera.read_noise_e"),
        ({"camera": {**CAMERA, "gain_adu_per_e": 1e30}}, "1000000"),
        ({"camera": {**CAMERA, "gain": 1}}, "did you mean camera.gain_adu_per_e?"),
        ({"camera": {"gain": 1, "offset_adu": 1}}, "did you mean camera.gain_adu_per_e?"),
        ({"camera": CAMERA, "output": {"units": "network"}}, 'output.units = "network"'),
        ({"camera": CAMERA, "inference": {"tiling": "reference"}}, 'tiling = "reference"'),
    ],
)
def test_a_camera_that_cannot_be_is_refused(flags: dict[str, Any], said: str) -> None:
    assert said in refusal(None, flags)


def test_a_camera_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in CAMERA.items():
        monkeypatch.setenv(f"LIVE_RESTORE_CAMERA__{key.upper()}", str(value))
    assert load_settings().camera == CameraSettings(**CAMERA)


def test_several_cameras(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    table = "[[cameras]]\ngain_adu_per_e = 2\noffset_adu = 100\nread_noise_e = 1\n"
    file.write_text(f'{table}serial = "A1"\nbad_pixels = "bad.tif"\n{table}channels = ["GFP", 1]\n')
    one, other = load_settings(file).cameras
    assert (one.serial, one.channels, one.bad_pixels) == ("A1", ("*",), tmp_path / "bad.tif")
    assert (other.serial, other.channels) == ("", ("GFP", "1"))
    file.write_text(f"{table}serials = 1\n")
    assert "cameras.0.serials is not a setting; did you mean cameras.0.serial?" in refusal(file, {})
    file.write_text(table)
    assert 'output.units = "network"' in refusal(file, {"output": {"units": "network"}})


def test_half_a_camera_from_the_environment_is_blamed_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVE_RESTORE_CAMERA__OFFSET_ADU", "100")
    said = refusal(None, {})
    assert said.startswith("LIVE_RESTORE_CAMERA__OFFSET_ADU: camera.gain_adu_per_e is missing")
    file = tmp_path / "config.toml"
    file.write_text("[camera]\nread_noise_e = 1\n")
    assert refusal(file, {}).startswith(f"{file}: camera.gain_adu_per_e is missing")


def test_the_example_is_plain_toml() -> None:
    said = set(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")))
    assert said == set(Settings.model_fields) - {"camera", "cameras"}, "no camera is everybody's"


def test_ome_zarr_without_zarr_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    output = {"output": {"acquisitions": "ome-zarr"}}
    assert load_settings(None, output).output.acquisitions == "ome-zarr"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install .*\[zarr\]"):
        load_settings(None, output)
    assert load_settings().output.acquisitions == "ome-tiff"


def test_the_published_numbers_are_never_computed_in_less_than_float32() -> None:
    assert InferenceSettings().reduced
    assert not InferenceSettings(precision="fp32").reduced
    assert not InferenceSettings(tiling="reference").reduced
