"""The envelope on a card, and in words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.envelope import Envelope, SweepLimit

LIMITS = {
    "blur": SweepLimit(quantity="blur", unit="x", tested=(1, 4), helps=(1, 2)),
    "density": SweepLimit(quantity="overlaid scenes", tested=(1, 8), helps=None),
}


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


def test_words_for_people() -> None:
    said = Envelope(snr=(2.04, 30), limits=LIMITS).in_words()
    assert "2.04 to 30" in said[0]
    assert said[1:] == [
        "blur: 1 to 2 x (tested 1 to 4)",
        "overlaid scenes: helped nowhere (tested 1 to 8)",
    ]
    assert "at no signal-to-noise ratio" in Envelope(snr=None).in_words()[0]
