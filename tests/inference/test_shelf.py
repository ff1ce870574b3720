"""The shelf: which model restores which channel, and what makes a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from live_restore.errors import ModelError
from live_restore.inference.model import find_model
from live_restore.inference.shelf import Shelf
from live_restore.settings import load_settings
from tests.support.fakes import a_dataset


def shelf(*rules: dict[str, Any], **sections: Any) -> Shelf:
    inference = {"device": "cpu", "threads": 1}
    return Shelf.load(
        load_settings(None, {"models": list(rules), "inference": inference, **sections})
    )


def test_the_first_rule_that_matches_decides() -> None:
    shelves = shelf(
        {"channels": ["DIC*", "2"], "skip": True},
        {"channels": ["gfp"]},
        {"channels": ["*"], "skip": True},
    )
    dataset = a_dataset(channels=4, channel_names=("dic 1", "GFP", "RFP"))
    restored = [shelves.restorer_for(dataset, c) is not None for c in range(4)]
    assert restored == [False, True, False, False]


def test_a_channel_without_a_rule_stays_as_it_is() -> None:
    shelves = shelf({"channels": ["GFP"]})
    assert shelves.restorer_for(a_dataset(channels=1), 0) is None


def test_a_model_is_loaded_once() -> None:
    shelves = shelf({"channels": ["a"]}, {"channels": ["b"]}, {"model": str(find_model("fast"))})
    assert shelves.rules[0][1] is shelves.rules[1][1]
    assert len(shelves.models) == 1


def test_the_recipe_is_what_changes_a_voxel() -> None:
    plain = shelf({})
    assert shelf({}).recipe == plain.recipe
    assert shelf({}, log={"level": "debug"}).recipe == plain.recipe
    assert shelf({"channels": ["GFP"]}).recipe != plain.recipe
    assert shelf({}, files={"undeclared_axis": "T"}).recipe != plain.recipe


def test_a_missing_model_is_said_at_once() -> None:
    with pytest.raises(ModelError, match="bundled are: fast"):
        shelf({"model": "slow"})
