"""Hot and dead pixels and cosmic rays are found; structure, however fine, is not taken for them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.special import erf

from live_restore.errors import SettingsError
from live_restore.inference.bad_pixels import read_bad_pixels
from live_restore.inference.image.defects import Defects, find_defects
from live_restore.inference.image.traces import Traces
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model.model import Model
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.load import load_settings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from tests.support.fakes import fake_restorer

CAMERA = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
SHAPE = (12, 128, 128)


@functools.cache
def light() -> np.ndarray:
    return LivingCell(shape_zyx=SHAPE, seed=3).expected_e(0)


@functools.cache
def fast() -> Model:
    return load_model(find_model("fast"), "cpu")


def clean(seed: int = 1) -> np.ndarray:
    return CAMERA.expose(light(), np.random.default_rng(seed))


def points(sigma_xy: float, sigma_z: float, peak_e: float, count: int = 60) -> np.ndarray:
    """Return the light of points between the voxels, integrated over them."""
    rng = np.random.default_rng(4)
    light, steps = np.ones((24, 96, 96)), np.arange(-3, 4)

    def profile(centre: float, sigma: float) -> np.ndarray:
        ends = (steps[:, np.newaxis] + (-0.5, 0.5) - centre) / (sigma * np.sqrt(2))
        return np.diff(erf(ends))[:, 0] / 2

    full = profile(0, sigma_xy)[3] ** 2 * profile(0, sigma_z)[3]
    for _ in range(count):
        z, y, x = (int(rng.integers(3, size - 4)) for size in light.shape)
        dz, dy, dx = rng.uniform(-0.5, 0.5, 3)
        spot = np.einsum(
            "i,j,k", profile(dz, sigma_z), profile(dy, sigma_xy), profile(dx, sigma_xy)
        )
        light[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4] += peak_e * spot / full
    return light


@pytest.mark.parametrize("height", [-200, 150, 1000, 60000])
def test_pixels_that_are_wrong_in_every_plane(height: int) -> None:
    stack = clean().astype(np.int64)
    where = [(0, 0), (20, 30), (64, 64), (90, 127)]
    for y, x in where:
        stack[:, y, x] = np.clip(stack[:, y, x] + height, 0, 65535)
    found = find_defects(stack.astype(np.uint16))
    assert sorted(map(tuple, found.pixels.tolist())) == where
    assert not len(found.voxels)


def test_the_traces_of_cosmic_rays() -> None:
    stack = clean()
    where = [(0, 40, 41), (6, 64, 64), (11, 10, 10), (11, 11, 10), (11, 12, 11)]
    for index in where:
        stack[index] = 4000
    found = find_defects(stack)
    assert sorted(map(tuple, found.voxels.tolist())) == where
    assert not len(found.pixels)


def test_a_column_and_a_row_of_the_sensor() -> None:
    stack = clean()
    stack[:, :, 64] += 100
    stack[:, 30, :] = 0
    found = find_defects(stack)
    assert set(map(tuple, found.pixels.tolist())) >= {(30, x) for x in range(128)}
    assert set(map(tuple, found.pixels.tolist())) >= {(y, 64) for y in range(35, 128)}
    mended = found.mended(stack)
    beside = (mended[:, 40:, 63].astype(float) + mended[:, 40:, 65]) / 2
    assert np.abs(np.mean(mended[:, 40:, 64] - beside)) < 1


@pytest.mark.parametrize("sigma_z", [0.8, 1.5])
@pytest.mark.parametrize("sigma_xy", [0.45, 0.6, 0.85])
@pytest.mark.parametrize("peak_e", [30, 300, 3000])
def test_points_finer_than_any_optics_are_left(
    sigma_xy: float, sigma_z: float, peak_e: float
) -> None:
    stack = CAMERA.expose(points(sigma_xy, sigma_z, peak_e), np.random.default_rng(5))
    assert not find_defects(stack)


@pytest.mark.parametrize("gain", [1.0, 0.3, 30.0])
@pytest.mark.parametrize("light_e", [0.01, 0.1, 0.5, 3, 100])
def test_noise_alone_has_no_defects(light_e: float, gain: float) -> None:
    """Down to single photons, whose grey values stand out among zeros."""
    rng = np.random.default_rng(6)
    counted = Camera(offset_adu=0, gain_adu_per_e=gain, read_noise_e=0)
    assert not find_defects(counted.expose(np.full((16, 128, 128), light_e), rng))


@pytest.mark.parametrize("light_e", [0.03, 0.1, 0.3, 1.0])
def test_single_photons_of_an_em_camera_are_no_defects(light_e: float) -> None:
    """Its gain is drawn anew for every electron, from an exponential distribution."""
    rng = np.random.default_rng(7)
    electrons = rng.poisson(light_e, (48, 256, 256))
    multiplied = rng.gamma(np.maximum(electrons, 1e-9), 50) + rng.normal(100, 5, electrons.shape)
    assert not find_defects(np.rint(multiplied).astype(np.uint16))


def test_a_pixel_that_is_bright_in_some_planes_is_no_pixel_of_the_camera() -> None:
    stack = clean()
    stack[3:7, 64, 64] += 900
    assert not len(find_defects(stack).pixels)


def test_the_map_of_the_camera_comes_first() -> None:
    stack, known = clean(), np.zeros(SHAPE[1:], bool)
    known[20, 20] = known[20, 21] = True
    stack[:, 64, 64] = 1000
    found = find_defects(stack, known)
    assert found.pixels.tolist() == [[20, 20], [20, 21], [64, 64]]
    assert (found.mapped, len(found.voxels)) == (2, 0)


def test_traces_in_the_corner_keep_their_neighbours() -> None:
    """A pair and a single voxel beside it, first and last of all that stands out."""
    plane = np.zeros((1, 20, 20), np.float32)
    plane[0, [0, 0, 1], [0, 2, 0]] = 9
    traces = Traces.of(plane, [(np.array([0, 0, 1]), np.array([0, 2, 0]), 1.0)])
    assert traces is not None
    assert traces.size.tolist() == [2, 1]
    assert traces.neighbours.tolist() == [10, 8]


def test_neighbours_that_are_wrong_too_stand_for_nothing() -> None:
    stack = np.full((1, 7, 7), 10, np.uint16)
    stack[0, 2:5, 2:5] = 500
    bad = np.argwhere(stack[0] == 500)
    assert np.all(Defects(pixels=bad).mended(stack) == 10)
    everything = np.argwhere(stack[0] >= 0)
    assert np.array_equal(Defects(pixels=everything).mended(stack), stack)


@pytest.mark.parametrize("kind", ["column", "ray"])
@pytest.mark.parametrize("told", [False, True])
def test_surroundings_are_as_without_the_defect(kind: str, told: bool) -> None:
    camera = CameraSettings(gain_adu_per_e=2, offset_adu=100, read_noise_e=1.6) if told else None
    restorer = Restorer(fast(), InferenceSettings(), camera=camera)
    raw, truth = clean(), CAMERA.noiseless_adu(light())
    damaged = raw.copy()
    defect = (slice(None), 64, 64) if kind == "column" else (6, 64, 64)
    damaged[defect] = 1000 if kind == "column" else 4000
    around = np.zeros(SHAPE, bool)
    around[:, 59:70, 59:70] = True
    around[defect] = False

    def error(restored: np.ndarray) -> float:
        return float(np.sqrt(np.mean((restored[around] - truth[around]) ** 2)))

    kept = restorer.restore(damaged)
    assert error(kept.volume) < 1.05 * error(restorer.restore(raw).volume)
    assert np.array_equal(kept.volume[defect], damaged[defect])
    mend = Restorer(fast(), InferenceSettings(), camera=camera, defects="mend")
    mended = mend.restore(damaged).volume
    assert np.abs(mended[defect] - truth[defect]).max() < 15
    mended[defect] = damaged[defect]
    assert np.array_equal(mended, kept.volume), "nothing else is another"


def test_a_stack_without_defects_goes_to_the_network_as_it_is() -> None:
    seen: list[np.ndarray] = []

    def network(tile: np.ndarray) -> np.ndarray:
        seen.append(tile.copy())
        return tile

    raw = clean()
    restored = fake_restorer(network).restore(raw)
    assert not any(restored.defects)
    assert np.array_equal(seen[0][0, 0], restored.scale.normalise(raw))


def test_published_numbers_are_left_alone() -> None:
    raw = clean()
    raw[:, 64, 64] = 1000
    for settings in (
        {"units": "network"},
        {"inference": {"tiling": "reference", "block_zyx": SHAPE}},
    ):
        assert fake_restorer(lambda tile: tile, **settings).restore(raw).defects == ()


def test_each_channel_has_defects_of_its_own() -> None:
    raw = np.stack([clean(1), clean(2)])
    raw[1, :, 64, 64] = 1000
    restored = fake_restorer(lambda tile: tile, input_channels=2, output_channels=2).restore(raw)
    assert [len(found.pixels) for found in restored.defects] == [0, 1]
    assert np.array_equal(restored.volume[:, :, 64, 64], raw[:, :, 64, 64])


def test_a_map_that_does_not_fit_is_reported() -> None:
    model = fake_restorer(lambda tile: tile).model
    restorer = Restorer(model, InferenceSettings(), bad_pixels=np.ones((64, 64), bool))
    restored = restorer.restore(clean())
    assert "(64, 64)" in restored.map_not_used
    assert not any(restored.defects)


def test_the_map_is_an_image_beside_the_settings(tmp_path: Path) -> None:
    known = np.zeros((30, 40), np.uint8)
    known[3, 4] = 7
    tifffile.imwrite(tmp_path / "bad.tif", known, photometric="minisblack")
    (tmp_path / "config.toml").write_text(
        "[camera]\ngain_adu_per_e = 2\noffset_adu = 100\nread_noise_e = 1.6\n"
        'bad_pixels = "bad.tif"\n'
    )
    camera = load_settings(tmp_path / "config.toml").camera
    assert camera is not None
    assert camera.bad_pixels == tmp_path / "bad.tif"
    assert np.array_equal(read_bad_pixels(camera.bad_pixels), known > 0)


@pytest.mark.parametrize("bad", [1.0, 0.12])
def test_a_map_that_marks_what_no_camera_has_is_refused(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "bad.tif"
    known = np.zeros((20, 50), np.uint8)
    known.flat[: int(bad * known.size)] = 255
    tifffile.imwrite(path, known, photometric="minisblack")
    with pytest.raises(SettingsError, match=rf"marks {100 * bad:.0f} % of the pixels as bad"):
        read_bad_pixels(path)
    known.flat[99:] = 0
    tifffile.imwrite(path, known, photometric="minisblack")
    assert read_bad_pixels(path).sum() == 99


@pytest.mark.parametrize("content", [b"", b"II*\0 and no more", b"text"])
def test_what_is_no_map_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.tif"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"bad\.tif"):
        read_bad_pixels(path)
    tifffile.imwrite(path, np.zeros((3, 20, 20), np.uint16), photometric="minisblack")
    with pytest.raises(SettingsError, match="one grey image"):
        read_bad_pixels(path)
    tifffile.imwrite(path, np.full((20, 20), np.nan, np.float32), photometric="minisblack")
    with pytest.raises(SettingsError, match="no numbers"):
        read_bad_pixels(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_bad_pixels(tmp_path / "nothing.tif")
