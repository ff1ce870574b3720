"""Where a journal may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from live_restore.errors import UsageError
from live_restore.journal import location


def test_a_journal_on_another_computer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Windows tells; tests/windows asks it."""
    monkeypatch.setattr(location, "is_network_drive", lambda path: path == tmp_path)
    with pytest.raises(UsageError, match="to a folder on a disk of this computer"):
        location.journal_path(tmp_path / "data", tmp_path)
    assert location.journal_path(tmp_path / "data", tmp_path / "local").suffix == ".sqlite"
