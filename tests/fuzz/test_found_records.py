"""What was found of what this program reads back; see ``test_found.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import (
    LiveRestoreError,
    SettingsError,
)
from live_restore.inference.device.cache import DeviceCache
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from tests.fuzz.seeds import _journal as write_journal
from tests.support.keys import key_at


def test_measurements_that_are_none(tmp_path: Path) -> None:
    """numpy's header is Python text: ``TokenError``; and it could claim any shape."""
    device_cache = DeviceCache(tmp_path / "backends.json")
    device_cache.keep_array("a", np.ones((2, 3), np.float32))
    kept = device_cache.array("a", (2, 3))
    assert kept is not None
    assert kept.tolist() == [[1.0] * 3] * 2
    assert device_cache.array("a", (3, 3)) is None
    (path,) = (tmp_path / "known_answers").iterdir()
    path.write_bytes(b"\x93NUMPY\1\0\x10\0{'descr': (((((")
    assert device_cache.array("a", (2, 3)) is None


def test_a_journal_that_is_damaged_inside(tmp_path: Path) -> None:
    """``TypeError``, ``IndexError``, ``UnicodeDecodeError``: SQLite gives what is there."""
    write_journal(tmp_path)
    path = tmp_path / "a.sqlite"
    path.write_bytes(path.read_bytes().replace(b"waiting", b"wait\xff\xffg"))
    with (
        pytest.raises(LiveRestoreError, match="journal"),
        Journal(path, tmp_path, recipe="r") as journal,
    ):
        journal.entries()


def test_a_result_in_the_journal_that_is_no_name(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.sqlite", tmp_path, recipe="r") as journal:
        from live_restore.stack import Fingerprint

        journal.record(key_at("a.tif"), Fingerprint(1, 2), State.WAITING, "", 1)
        entry = journal.lease(30.0)
        assert entry is not None
        journal.finish(entry, State.DONE, result="a\0b")
        assert journal.redo_missing(tmp_path) == 0


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "9" * 5000,
        "a = " + "[" * 50_000,
        "x" * 300_000,
        'log = {level = "' + "9" * 9000 + '"}',
    ],
    ids=["digits", "depth", "size", "value"],
)
def test_settings_that_no_person_wrote(tmp_path: Path, text: str) -> None:
    """``ValueError``, ``RecursionError``, and a line of 9,000 characters."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert len(str(caught.value)) < 1000
