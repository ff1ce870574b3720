"""The camera is measured from its own frames, and what cannot be measured is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from live_restore.errors import StackRefusedError
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from live_restore.trust.darkness import Darkness, darkness
from live_restore.trust.photon_transfer import Pair, photon_transfer

CAMERAS = [
    Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6),
    Camera(offset_adu=400, gain_adu_per_e=0.46, read_noise_e=1.1),
    Camera(offset_adu=100, gain_adu_per_e=8.0, read_noise_e=3.0),
]
SIZE = (192, 200)


def dark_of(camera: Camera, seed: int = 1, count: int = 20) -> Darkness:
    rng = np.random.default_rng(seed)
    return darkness([camera.expose(np.zeros(SIZE), rng) for _ in range(count)])


def lit(camera: Camera, levels: tuple[float, ...] = (40, 400), seed: int = 2) -> list[Pair]:
    rng = np.random.default_rng(seed)
    uneven = np.linspace(0.6, 1.0, SIZE[1]) * np.ones(SIZE)
    return [
        (camera.expose(level * uneven, rng), camera.expose(level * uneven, rng)) for level in levels
    ]


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_dark_stack_and_lit_pairs_tell_all(camera: Camera) -> None:
    found = photon_transfer(lit(camera), dark_of(camera))
    assert found.offset_adu is not None
    assert found.read_noise_e is not None
    for measured, truth, error in (
        (found.gain_adu_per_e, camera.gain_adu_per_e, 0.03),
        (found.read_noise_e, camera.read_noise_e, 0.04),
        (found.offset_adu, camera.offset_adu, 1e-3),
    ):
        assert measured.value == pytest.approx(truth, rel=error)
        assert measured.low < measured.value < measured.high


def test_the_interval_holds_the_truth() -> None:
    """In 95 of 100 measurements; of 30, fewer than 25 would be a chance of one in 300."""
    camera, held = CAMERAS[0], 0
    for seed in range(30):
        gain = photon_transfer(lit(camera, (40, 400), seed)).gain_adu_per_e
        held += gain.low <= camera.gain_adu_per_e <= gain.high
    assert held >= 25


@pytest.mark.parametrize("camera", CAMERAS[:2])
@pytest.mark.parametrize("over", ["time", "planes"])
def test_the_stacks_of_a_run_tell_it_too(camera: Camera, over: str) -> None:
    cell = LivingCell(shape_zyx=(16, 192, 192), peak_e=60, camera=camera)
    first = cell.exposed(0)
    pairs: list[Pair] = (
        list(zip(first, cell.exposed(1), strict=True))
        if over == "time"
        else [(first[z], first[z + 1]) for z in range(0, 15, 2)]
    )
    found = photon_transfer(pairs, offset_adu=camera.offset_adu)
    assert found.gain_adu_per_e.value == pytest.approx(camera.gain_adu_per_e, rel=0.06)
    assert found.read_noise_e is not None
    assert found.read_noise_e.value == pytest.approx(camera.read_noise_e, rel=0.1)
    alone = photon_transfer(pairs)
    assert (alone.offset_adu, alone.read_noise_e) == (None, None)


def test_the_pattern_of_the_sensor_and_bleaching_are_no_noise() -> None:
    rng = np.random.default_rng(3)
    camera = CAMERAS[0].with_pixel_maps(SIZE, rng)
    scene = 300 * np.exp(-3 * ndimage.gaussian_filter(rng.random(SIZE), 4))
    pairs = [(camera.expose(scene, rng), camera.expose(0.9 * scene, rng)) for _ in range(4)]
    found = photon_transfer(pairs, dark_of(CAMERAS[0]))
    assert found.gain_adu_per_e.value == pytest.approx(2.0, rel=0.04)


def smoothed(frame: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(frame.astype(float), 0.6).round().astype(np.uint16)


def bent(frame: np.ndarray) -> np.ndarray:
    return (frame.astype(float) ** 0.8).round().astype(np.uint16)


def saturated(frame: np.ndarray) -> np.ndarray:
    return np.minimum(frame, 700)


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [(smoothed, "not independent"), (bent, "not linear"), (saturated, "saturated")],
)
def test_what_is_not_as_the_camera_gave_it_is_refused(
    spoilt: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    camera = CAMERAS[0]
    dark = dark_of(camera)
    pairs = [(spoilt(one), spoilt(other)) for one, other in lit(camera)]
    with pytest.raises(StackRefusedError, match=reason):
        photon_transfer(pairs, dark)


def test_one_brightness_alone_tells_no_gain() -> None:
    rng = np.random.default_rng(4)
    even = [
        (CAMERAS[0].expose(np.full(SIZE, 50.0), rng), CAMERAS[0].expose(np.full(SIZE, 50.0), rng))
    ]
    with pytest.raises(StackRefusedError, match="hardly differs"):
        photon_transfer(even)
    assert photon_transfer(even, dark_of(CAMERAS[0])).gain_adu_per_e.value == pytest.approx(
        2, rel=0.06
    )


def test_structure_that_moves_is_refused() -> None:
    rng = np.random.default_rng(5)
    scene = 400 * ndimage.gaussian_filter(rng.random(SIZE), 1.2) ** 4 * 20
    pairs = [
        (CAMERAS[0].expose(scene, rng), CAMERAS[0].expose(np.roll(scene, 5, 1), rng))
        for _ in range(3)
    ]
    with pytest.raises(StackRefusedError, match="does not move"):
        photon_transfer(pairs)


def test_bad_pixels_of_the_dark_stack() -> None:
    rng = np.random.default_rng(6)
    frames = [CAMERAS[0].expose(np.zeros(SIZE), rng) for _ in range(20)]
    assert not darkness(frames).bad_pixels.any()
    for frame in frames:
        frame[10, 20] += 60  # hot
        frame[30, 40] = 7  # stuck
        frame[50, 60] = rng.integers(50, 300)  # flickers
    found = darkness(frames)
    assert np.argwhere(found.bad_pixels).tolist() == [[10, 20], [30, 40], [50, 60]]
    assert found.noise_adu.value == pytest.approx(3.2, rel=0.02), "they count for nothing"


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([np.full(SIZE, 100, np.uint16)] * 5, "no noise"),
        ([np.random.default_rng(1).poisson(0.3, SIZE).astype(np.uint16)] * 5, "cut off at 0"),
        ([np.full(SIZE, 100, np.uint16)], "1 frame"),
    ],
)
def test_what_is_no_dark_stack_is_refused(frames: list[np.ndarray], reason: str) -> None:
    with pytest.raises(StackRefusedError, match=reason):
        darkness(frames)
