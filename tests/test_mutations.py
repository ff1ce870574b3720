"""The table of mutants still speaks of code and of tests that are there."""

from __future__ import annotations

import re

import pytest

from tests.mutants import HOUSE, MUTANTS, Mutant
from tests.mutations import ROOT, broken, place


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_its_text_is_found_once_and_its_tests_are_there(mutant: Mutant) -> None:
    module = place(mutant)
    assert module is not None, f"{mutant.name} is stale: mend it in tests/mutants/"
    # What is no Python fails every test, and shows nothing.
    compile(broken(mutant, module), str(module), "exec")
    for test in mutant.tests:
        file, *names = test.split("::")
        text = (ROOT / file).read_text("utf-8")
        assert all(re.search(rf"^ *(?:def|class) {n}\b", text, re.MULTILINE) for n in names), test


def test_every_promise_has_one() -> None:
    page = (ROOT / "docs" / "explanation" / "promises.md").read_text("utf-8")
    promises = {int(number) for number in re.findall(r"^## (\d+)\. ", page, re.MULTILINE)}
    assert {mutant.promise for mutant in MUTANTS} == promises | {HOUSE}
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
