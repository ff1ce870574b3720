"""The envelope on a card, and what it says of a stack."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.envelope import Envelope, SweepLimit, unknown_voxel, voxel_doubt
from live_restore.stack import VoxelSize

LIMITS = {
    "blur": SweepLimit(quantity="blur", unit="x", tested=(1, 4), helps=(1, 2)),
    "density": SweepLimit(quantity="overlaid scenes", tested=(1, 8), helps=None),
}
TRAINED = {"z": (0.15, 0.5), "xy": (0.06, 0.2)}


def test_a_card_keeps_its_envelope_and_needs_none() -> None:
    card = ModelCard(name="a", envelope=Envelope(snr=(2, 30), limits=LIMITS, measured="so"))
    assert ModelCard.model_validate_json(card.model_dump_json()) == card
    assert ModelCard.model_validate_json('{"name": "old"}').envelope is None
    later = ModelCard.model_validate({"name": "new", "envelope": {"snr": [1, 2], "moon": "full"}})
    assert later.envelope is not None
    assert later.envelope.model_dump()["moon"] == "full", "a newer card still loads"


@pytest.mark.parametrize("snr", [(3, 2), (-1, 2), (float("nan"), 2)])
def test_a_range_that_is_none_is_refused(snr: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="lowest <= highest"):
        Envelope(snr=snr)


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (1.94, "about 1.9, below the 2 down"),
        (2, None),
        (30, None),
        (31, "above the 30"),
    ],
)
def test_doubts_about_light(ratio: float, said: str | None) -> None:
    doubt = Envelope(snr=(2, 30)).doubt(ratio)
    assert doubt is None if said is None else said in str(doubt)
    assert "at none" in str(Envelope(snr=None).doubt(ratio))


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
    assert "(z)" in str(unknown_voxel(VoxelSize(None, 0.1, 0.1), TRAINED))
    assert unknown_voxel(VoxelSize(None, 0.1, 0.1), {"xy": (0.1, 0.1)}) is None
    assert unknown_voxel(VoxelSize(), {}) is None


def test_words_for_people() -> None:
    said = Envelope(snr=(2.04, 30), limits=LIMITS).in_words()
    assert "2.04 to 30" in said[0]
    assert said[1:] == [
        "blur: 1 to 2 x (tested 1 to 4)",
        "overlaid scenes: helped nowhere (tested 1 to 8)",
    ]
    assert "at no signal-to-noise ratio" in Envelope(snr=None).in_words()[0]
