"""The table of mutations still speaks of code that is there."""

from __future__ import annotations

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation, place


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_its_text_is_found_once_and_its_tests_are_there(mutation: Mutation) -> None:
    assert place(mutation) is not None, f"{mutation.name} is stale: mend it in tests/mutations.py"
    assert all((ROOT / test.partition("::")[0]).exists() for test in mutation.tests)
