"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.daemons import Nursery, Place


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    """Starts daemons; kills those that a test leaves."""
    made = Nursery()
    yield made
    made.end_all()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder to watch."""
    return Place(tmp_path)
