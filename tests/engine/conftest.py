"""A pipeline with its folder and journal for every test of this package that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live_restore.journal.journal import Journal
from tests.support.pipeline import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = tmp_path / "watched"
    root.mkdir()
    with Journal(tmp_path / "state" / "j.sqlite", root, recipe="r" * 64) as journal:
        made = Bench(root, journal)
        yield made
        made.stop()
