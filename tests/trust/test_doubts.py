"""What makes a stack doubtful, in words."""

from __future__ import annotations

import numpy as np
import pytest

from live_restore.inference.image.flux import Flux
from live_restore.inference.image.residual import GivenBack
from live_restore.inference.model.envelope import Envelope
from live_restore.stack import FOR_BRIGHTNESS, VoxelSize
from live_restore.trust.doubt_lines import in_one_line
from live_restore.trust.doubts import (
    brightness_doubt,
    clipped_warning,
    intensity_doubt,
    light_doubt,
    lost_structure_doubt,
    rounding_note,
    saturation_doubt,
    unknown_voxel_note,
    voxel_doubt,
)
from live_restore.trust.snr import SignalToNoise
from tests.support.fakes import fake_restorer

DIM = f"{FOR_BRIGHTNESS}: "
TRAINED = {"z": (0.15, 0.5), "xy": (0.06, 0.2)}


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (1.94, "about 1.9, below the 2 down"),
        (2, None),
        (30, None),
        (31, "above the 30"),
        (1.97, "about 1.97, below the 2 down"),
        (0.002, "ratio is below 0.1, below the 2 down"),
        (None, "is not known"),
    ],
)
def test_doubts_about_light(ratio: float | None, said: str | None) -> None:
    doubt = light_doubt(Envelope(snr=(2, 30)), ratio)
    assert doubt is None if said is None else said in str(doubt)
    if ratio is not None:
        assert "at none" in str(light_doubt(Envelope(snr=None), ratio))


@pytest.mark.parametrize(("share", "said"), [(0.0, None), (4e-6, None), (0.013, "1.3 % of its")])
def test_doubts_about_saturation(share: float, said: str | None) -> None:
    doubt = saturation_doubt(SignalToNoise(9, 90, 10, 100, share > 0, share))
    assert doubt is None if said is None else said in str(doubt)


UNKNOWN = Flux(None, None, "there is too little light")
KEEPS = Envelope(brightness_snr=(4, 30), brightness_measured=True)


@pytest.mark.parametrize(
    ("flux", "envelope", "ratio", "said"),
    [
        (Flux(-8.1, 1.2), None, 3, "8.1 % less light (within 1.2) than in the raw stack"),
        (Flux(6.0, 0.5), KEEPS, 9, "6.0 % more light"),
        (Flux(-4.9, 1.2), None, 3, ""),
        (Flux(-4.9, 1.2), KEEPS, 3, ""),  # what was measured on the stack decides
        (UNKNOWN, KEEPS, 3.14, "ratio of about 3.1 the model was not shown to keep it"),
        (UNKNOWN, KEEPS, 5, ""),
        (UNKNOWN, Envelope(brightness_measured=True), 5, "not shown to keep it within 5 %"),
        (UNKNOWN, Envelope(), 3, ""),  # nobody measured it
        (UNKNOWN, KEEPS, None, ""),
        (UNKNOWN, None, 3, ""),
        (None, KEEPS, 3, "not shown to keep it"),  # nobody looked at the stack itself
        (None, KEEPS, 5, ""),
    ],
)
def test_doubts_about_brightness(
    flux: Flux | None, envelope: Envelope | None, ratio: float | None, said: str
) -> None:
    doubt = brightness_doubt(flux, envelope, ratio) or ""
    assert said in doubt
    assert bool(doubt) == bool(said)
    assert not doubt or doubt.startswith("doubtful for measuring brightness")


@pytest.mark.parametrize(
    ("voxel", "said"),
    [
        (VoxelSize(0.3, 0.1, 0.1), ""),
        (VoxelSize(0.52, 0.058, 0.205), ""),  # inside the slack
        (VoxelSize(1.0, 0.1, 0.1), "z 1 um (trained on 0.15 to 0.5 um)"),
        (VoxelSize(None, 0.1, 0.3), "x 0.3 um (trained on 0.06 to 0.2 um)"),
        (VoxelSize(), ""),
    ],
)
def test_doubts_about_the_voxel_size(voxel: VoxelSize, said: str) -> None:
    doubt = voxel_doubt(voxel, TRAINED) or ""
    assert said in doubt
    assert bool(doubt) == bool(said)
    assert voxel_doubt(voxel, {}) is None


def test_an_unknown_voxel_size_is_a_remark_where_it_matters() -> None:
    assert "(z)" in str(unknown_voxel_note(VoxelSize(None, 0.1, 0.1), TRAINED))
    assert unknown_voxel_note(VoxelSize(None, 0.1, 0.1), {"xy": (0.1, 0.1)}) is None
    assert unknown_voxel_note(VoxelSize(), {}) is None


@pytest.mark.parametrize(
    ("doubts", "said"),
    [
        ([[]], ""),
        ([["about 1.5, dark"]], "about 1.5, dark"),
        ([["about 1.5, dark"], [], ["about 1.7, dark"]], "2 of 3 stacks: about 1.5, dark"),
        ([["dark"], ["odd"]], "1 of 2 stacks: dark; 1 of 2 stacks: odd"),
        ([[DIM + "at 1.5"]], DIM + "at 1.5"),
        ([[DIM + "at 1.5", "dark"]], "dark; " + DIM + "at 1.5"),
        ([[DIM + "at 1.5"], [DIM + "at 2"], []], DIM + "2 of 3 stacks: at 1.5"),
    ],
)
def test_a_line_for_many_stacks(doubts: list[list[str]], said: str) -> None:
    assert in_one_line(doubts) == said


@pytest.mark.parametrize(
    ("dtype", "coarse"), [(np.uint8, True), (np.uint16, True), (np.float32, False)]
)
def test_rounding_is_coarse_where_the_noise_is_small(dtype: type, coarse: bool) -> None:
    assert (rounding_note(np.dtype(dtype), 14.9) is not None) == coarse
    assert rounding_note(np.dtype(dtype), 15.0) is None
    assert rounding_note(np.dtype(dtype), None) is None


def test_lost_structure_from_a_hundredth_of_the_stack_on() -> None:
    assert lost_structure_doubt(None) is None
    assert lost_structure_doubt(GivenBack(0.009, 0.5)) is None
    doubt = str(lost_structure_doubt(GivenBack(0.01, 0.5)))
    assert doubt.startswith("in 1 % of it")
    assert "50 % of that was given back" in doubt


def stack_with_a_spot(brightness: int) -> np.ndarray:
    raw = np.tile(np.arange(0, 1000, 10, dtype=np.uint16), 200).reshape(5, 40, 100)
    raw[2, 20, 50] = brightness
    return raw


@pytest.mark.parametrize(("brightness", "doubtful"), [(3500, False), (8000, True)])
def test_a_spot_brighter_than_training_is_doubtful(brightness: int, doubtful: bool) -> None:
    restored = fake_restorer().restore(stack_with_a_spot(brightness))
    doubt = intensity_doubt(restored)
    assert (doubt is not None) == doubtful
    if doubt is not None:
        assert f"{restored.brightest:.1f} times as bright as 99.9 % of the voxels" in doubt


def test_a_scale_that_had_to_be_the_extremes_is_doubtful() -> None:
    raw = np.full((10, 40, 40), 100, np.uint16)
    raw[5, 20, 20] = 5000  # less than 0.1 % of the voxels
    assert "percentiles (2.0, 99.9) of the stack are equal" in str(
        intensity_doubt(fake_restorer().restore(raw))
    )


def test_clipped_voxels_are_counted_in_words() -> None:
    raw = stack_with_a_spot(900)
    assert clipped_warning(fake_restorer().restore(raw)) is None
    clipped = fake_restorer(lambda tile: tile - 100).restore(raw)
    assert clipped_warning(clipped) == "20000 voxels lay outside uint16 and were clipped"
