"""A journal and its file for every test of this package that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live_restore.journal.journal import Journal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(file: Path, tmp_path: Path) -> Iterator[Journal]:
    with Journal(file, tmp_path, recipe="one") as journal:
        yield journal
