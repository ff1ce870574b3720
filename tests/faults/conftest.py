"""What the fault tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.daemons import Nursery, Place


@pytest.fixture(scope="session")
def nursery_for_all() -> Iterator[Nursery]:
    """One for the session: it needs a second to begin."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def nursery(nursery_for_all: Nursery) -> Iterator[Nursery]:
    """Starts daemons; kills those that a test leaves."""
    yield nursery_for_all
    nursery_for_all.end_all()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder to watch."""
    return Place(tmp_path)
