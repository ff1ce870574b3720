"""``live-restore camera``: from files to numbers, a map and a config.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.cli.main import main
from live_restore.settings.load import load_settings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell

CAMERA = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
SIZE = (192, 200)


def save(path: Path, image: np.ndarray, axes: str) -> str:
    tifffile.imwrite(path, image, photometric="minisblack", ome=True, metadata={"axes": axes})
    return str(path)


@pytest.fixture
def dark(tmp_path: Path) -> str:
    frames = CAMERA.expose(np.zeros((20, *SIZE)), np.random.default_rng(1))
    frames[:, 10, 20] += 60
    return save(tmp_path / "dark.ome.tif", frames, "TYX")


@pytest.fixture
def lit(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(2)
    return [
        save(tmp_path / f"lit_{n}.ome.tif", CAMERA.expose(np.full((4, *SIZE), n), rng), "TYX")
        for n in (50.0, 500.0)
    ]


def test_lit_pairs_and_a_dark_stack_become_settings(
    tmp_path: Path, dark: str, lit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[log]\nlevel = 'debug'\n")
    bad = tmp_path / "bad.tif"
    words = ["camera", *lit, "--dark", dark, "--save", str(config), "--save-map", str(bad)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "95 %" in said
    assert "1 bad pixel(s) of 192 x 200" in said
    settings = load_settings(config)
    assert settings.camera is not None
    assert settings.camera.gain_adu_per_e == pytest.approx(2, rel=0.03)
    assert settings.camera.offset_adu == pytest.approx(100, abs=0.1)
    assert settings.camera.read_noise_e == pytest.approx(1.6, rel=0.05)
    assert settings.camera.bad_pixels == bad
    assert settings.log.level == "debug"
    assert np.argwhere(tifffile.imread(bad)).tolist() == [[10, 20]]


def test_a_dark_stack_that_tells_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(6)
    lit, dark = tmp_path / "lit.tif", tmp_path / "dark.tif"
    tifffile.imwrite(lit, CAMERA.expose(np.full((4, 64, 64), 100.0), rng), photometric="minisblack")
    frames = CAMERA.expose(np.zeros((20, 32, 32)), rng)
    tifffile.imwrite(dark, frames, photometric="minisblack")
    assert main(["camera", str(lit), "--dark", str(dark)]) == 2
    assert "the same region of the camera" in capsys.readouterr().err
    broken = frames.astype(np.float32)
    broken[3, 4, 5] = np.nan
    tifffile.imwrite(dark, broken, photometric="minisblack")
    assert main(["camera", "--dark", str(dark)]) == 1
    assert "not finite numbers" in capsys.readouterr().err


def test_a_map_is_never_saved_over_raw_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    dark, bad = tmp_path / "dark.tif", tmp_path / "bad.tif"
    tifffile.imwrite(dark, CAMERA.expose(np.zeros((20, 64, 64)), rng), photometric="minisblack")
    before = dark.read_bytes()
    assert main(["camera", "--dark", str(dark), "--save-map", str(dark)]) == 2
    assert "give --save-map a new name" in capsys.readouterr().err
    assert dark.read_bytes() == before
    for _ in range(2):  # a map of ours may be saved anew
        assert main(["camera", "--dark", str(dark), "--save-map", str(bad)]) == 0


def test_a_run_of_two_channels_tells_the_gain_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Camera(offset_adu=400, gain_adu_per_e=0.5, read_noise_e=1.1)
    image = np.stack(
        [
            LivingCell(shape_zyx=(12, 160, 160), peak_e=60, camera=each).exposed(0)
            for each in (CAMERA, other)
        ]
    )
    image[:, :, 30, 40] = 3000
    run = save(tmp_path / "run.ome.tif", image, "CZYX")
    assert main(["camera", run]) == 2
    assert "--channel" in capsys.readouterr().err
    for channel, camera in enumerate((CAMERA, other)):
        offset = str(camera.offset_adu)
        assert main(["camera", run, "--channel", str(channel), "--offset", offset, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["gain_adu_per_e"]["value"] == pytest.approx(camera.gain_adu_per_e, rel=0.1)
        assert found["bad_pixels"] == 1

    config = tmp_path / "config.toml"
    for channel in ("0", "1"):
        words = ["camera", run, "--channel", channel, "--offset", "100", "--save", str(config)]
        assert main(words) == 0
    assert [each.channels for each in load_settings(config).cameras] == [("0",), ("1",)]
    assert load_settings(config).camera is None


def test_a_camera_is_written_by_its_serial_number(
    tmp_path: Path, lit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As OME-XML names it; of two cameras at once nothing is measured."""
    for path in map(Path, lit):
        xml = tifffile.tiffcomment(path).replace(
            "<Image ", '<Instrument ID="Instrument:0"><Detector ID="Detector:0" '
            'SerialNumber="VSC-01583"/></Instrument><Image ', 1
        )  # fmt: skip
        tifffile.tiffcomment(path, xml)
    config = tmp_path / "config.toml"
    config.write_text("[camera]\ngain_adu_per_e = 1\noffset_adu = 1\nread_noise_e = 1\n")
    assert main(["camera", *lit, "--offset", "100", "--save", str(config)]) == 0
    assert "[camera] is still in it" in capsys.readouterr().out
    (camera,) = load_settings(config).cameras
    assert (camera.serial, camera.channels) == ("VSC-01583", ("*",))
    assert camera.gain_adu_per_e == pytest.approx(2, rel=0.05)
    given = ["--serial", "other", "--offset", "100", "--save", str(config)]
    assert main(["camera", *lit, *given]) == 0
    assert [each.serial for each in load_settings(config).cameras] == ["VSC-01583", "other"]
    second = Path(lit[1])
    tifffile.tiffcomment(second, tifffile.tiffcomment(second).replace("VSC-01583", "VSC-2"))
    assert main(["camera", *lit, "--offset", "100", "--save", str(config)]) == 2
    assert "of several cameras (VSC-01583, VSC-2)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("light", "reason"),
    [
        (lambda: np.full(SIZE, 1100.0), "far above what an offset can be"),
        (
            lambda: LivingCell(shape_zyx=(1, *SIZE), peak_e=60).expected_e(0)[0],
            "it shows something",
        ),
        (lambda: np.linspace(0, 40, SIZE[1])[np.newaxis].repeat(SIZE[0], 0), "it shows something"),
        (lambda: np.full(SIZE, 900.0), "is darker"),
    ],
    ids=["bright", "a cell", "uneven", "brighter than the lit ones"],
)
def test_a_dark_stack_with_light_is_refused(
    tmp_path: Path,
    lit: list[str],
    capsys: pytest.CaptureFixture[str],
    light: Callable[[], np.ndarray],
    reason: str,
) -> None:
    frames = CAMERA.expose(light()[np.newaxis].repeat(20, 0), np.random.default_rng(3))
    bright = save(tmp_path / "not dark.ome.tif", frames, "TYX")
    assert main(["camera", *lit, "--dark", bright]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_dark_stack_of_a_patterned_sensor_is_dark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns that differ by a grey value, glowing edges, a hot pixel."""
    rng = np.random.default_rng(4)
    frames = CAMERA.expose(np.zeros((20, *SIZE)), rng).astype(np.int64)
    frames += rng.integers(-1, 2, SIZE[1])
    frames[:, :4] += 3
    frames[:, 10, 20] += 500
    dark = save(tmp_path / "dark.ome.tif", frames.astype(np.uint16), "TYX")
    assert main(["camera", "--dark", dark]) == 0
    assert "offset_adu = 100" in capsys.readouterr().out


def test_what_is_not_known_is_not_written(
    tmp_path: Path, lit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    assert main(["camera", *lit, "--save", str(config)]) == 2
    assert "--offset" in capsys.readouterr().err
    assert not config.exists()


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["camera"], 2, "nothing to measure"),
        (["camera", "nothing.tif"], 1, "does not exist"),
        (["camera", "one.tif"], 1, "one frame only"),
        (["camera", "text.tif"], 1, "cannot be read|can be read"),
        (["camera", "colour.tif"], 1, "grey"),
        (["camera", "one.tif", "--dark", "one.tif", "--offset", "3"], 2, "exclude"),
        (["camera", "--dark", "one.tif"], 1, "1 frame"),
        (["camera", "--dark", "header.tif"], 1, "can be read"),
        (["camera", "constant.tif", "--offset", "3"], 1, "has no noise"),
        (["camera", "constant.tif", "--channel", "3"], 2, r"holds 1 channel\(s\), counted from 0"),
        (["camera", "."], 2, "is a folder"),
        (["camera", "--dark", "."], 2, "is a folder"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("one.tif", np.full((32, 32), 100, np.uint16))
    tifffile.imwrite("colour.tif", np.zeros((4, 32, 32, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(
        "constant.tif",
        np.full((4, 256, 256), 100, np.uint16),
        photometric="minisblack",
    )
    Path("header.tif").write_bytes(b"II*\0")
    Path("text.tif").write_text("no image")
    assert main(words) == code
    error = capsys.readouterr().err
    assert re.search(reason, error), error
    assert error.count("\n") == 1


@pytest.mark.parametrize("offset", ["nan", "inf", "dark"])
def test_an_offset_is_a_number(offset: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["camera", "lit.tif", "--offset", offset])
    assert "must be a number" in capsys.readouterr().err
