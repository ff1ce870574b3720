"""NTFS lists a file that is being written with the size that it had when it was opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.watched import Scene, stack

_list = os.scandir


@contextmanager
def stale_scandir(path: str | Path) -> Iterator[Iterator[Any]]:
    """List a folder as NTFS does while its files are open."""
    with _list(path) as entries:
        yield (
            SimpleNamespace(
                name=entry.name,
                path=entry.path,
                is_dir=entry.is_dir,
                is_file=entry.is_file,
                stat=lambda **_: os.stat_result((0o100644, *[0] * 9)),
            )
            for entry in entries
        )


def test_sizes_and_times_are_asked_for_and_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    raw = stack(root / "a.tif")
    scene = Scene(root, tmp_path / "state" / "j.sqlite")
    try:
        monkeypatch.setattr(os, "scandir", stale_scandir)
        scene.settle()
        (entry,) = scene.journal.entries()
        assert entry.fingerprint.size == raw.stat().st_size
    finally:
        scene.journal.close()
