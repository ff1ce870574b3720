"""Paths as Windows has them: shares, drives that are not there, paths that are too long."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from live_restore.errors import OutputError, StackBusyError, UsageError
from live_restore.files.publish import make_folder, publish_text
from live_restore.files.raw_data import opened
from live_restore.files.windows import long_paths_enabled, too_long
from live_restore.journal.location import journal_path

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="paths of Windows")


@pytest.mark.parametrize("share", [r"\\server\data\journals", r"\\?\UNC\server\data\journals"])
def test_a_journal_on_a_share_is_refused_with_the_remedy(tmp_path: Path, share: str) -> None:
    with pytest.raises(UsageError, match=r"is on another computer.*on a disk of this computer"):
        journal_path(tmp_path, Path(share))


def test_a_drive_that_is_not_there_is_an_error() -> None:
    """Seen to count folders above it until the memory was full."""
    with pytest.raises(OSError, match="Q:"):
        make_folder(Path("Q:/results/run"))
    with pytest.raises(OutputError, match="cannot be written"):
        publish_text(Path("Q:/results/run/a.json"), "{}")


@pytest.mark.skipif(long_paths_enabled(), reason="this computer opens long paths")
def test_a_path_too_long_is_not_taken_for_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["a" * 60] * 4, "cell.tif")
    assert f"its path has {len(str(path))} characters" in too_long(path)
    assert too_long(tmp_path) == ""
    with pytest.raises(StackBusyError, match="or enable long paths"), opened(path):
        pass
