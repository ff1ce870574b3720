"""What must hold: at any moment, and when all is quiet."""

from __future__ import annotations

import functools
import json
import shutil
import sqlite3
import tempfile
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.inference.load import load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.load import load_settings
from tests.faults.daemons import Place
from tests.faults.player import RawStack


@functools.cache
def _restorer(model: Path) -> Restorer:
    return Restorer(load_model(model, "cpu", 1), load_settings().inference)


def journal_rows(place: Place) -> list[dict[str, Any]]:
    """Return the rows of the journal, after SQLite has found nothing wrong with it.

    A copy is looked at, so that the next daemon meets what the last one left.
    """
    with tempfile.TemporaryDirectory() as folder:
        for file in place.state.glob("*.sqlite*"):
            if not file.name.endswith("-shm"):
                shutil.copyfile(file, Path(folder) / file.name)
        copies = list(Path(folder).glob("*.sqlite"))
        if not copies:
            return []
        with closing(sqlite3.connect(copies[0])) as db:
            db.row_factory = sqlite3.Row
            ((verdict,),) = db.execute("PRAGMA integrity_check").fetchall()
            assert verdict == "ok", verdict
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entry'").fetchone():
                return []  # killed before there was anything in it
            return [dict(row) for row in db.execute("SELECT * FROM entry")]


def states(place: Place) -> dict[str, str]:
    """Return the state of every file that the journal knows."""
    return {row["acquisition"].decode(): row["state"] for row in journal_rows(place)}


@dataclass
class Audit:
    """Checks one place again and again, and remembers what was good before.

    Parameters
    ----------
    place
        The place.
    folder
        Where raw files lie, if not in the watched folder itself.
    """

    place: Place
    folder: Path | None = None
    _seen: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    _raw: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    _finished: dict[Path, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def raw_folder(self) -> Path:
        """Where raw files lie."""
        return self.folder or self.place.root

    def at_any_moment(self, stacks: list[RawStack], *, contents: bool = True) -> None:
        """Check what must hold whenever one looks, also right after a kill.

        ``contents``: compare all that raw files hold, not only their sizes and times.
        """
        journal_rows(self.place)
        self._raw_unchanged(stacks, contents)
        by_result = {f"{Path(s.name).stem}.ome.tif": s for s in stacks}
        results = self.raw_folder / "restored"
        if not results.exists():
            return
        for path in results.iterdir():
            if path.name.endswith(TEMPORARY_SUFFIX):
                continue
            if path.suffix == ".json":
                self._finished_once(path)
            elif _identity(path) != self._seen.get(path):
                self._whole(path, by_result[path.name])
                self._seen[path] = _identity(path)

    def at_rest(self, stacks: list[RawStack], others: dict[str, str] | None = None) -> None:
        """Check what must hold when nothing is left to do.

        Parameters
        ----------
        stacks
            All that is complete.
        others
            Further names, and the state in which the journal must have them.
        """
        self.at_any_moment(stacks)
        expected = {s.name: "done" for s in stacks} | (others or {})
        found = states(self.place)
        assert found == expected, Counter(found.values())
        stems = [Path(stack.name).stem for stack in stacks]
        names = {path.name for path in (self.raw_folder / "restored").iterdir()}
        wanted = {f"{stem}{ending}" for stem in stems for ending in (".ome.tif", ".json")}
        assert names == wanted, names ^ wanted

    def _raw_unchanged(self, stacks: list[RawStack], contents: bool) -> None:
        for stack in stacks:
            path = self.raw_folder / stack.name
            assert self._raw.setdefault(path, _identity(path)) == _identity(path), path.name
            assert not contents or path.read_bytes() == stack.content, path.name

    def _whole(self, image: Path, stack: RawStack) -> None:
        """A final name holds exactly the restored stack."""
        expected = _restorer(self.place.model).restore(stack.volume).volume
        with tifffile.TiffFile(image) as tiff:
            assert tiff.is_ome
            assert np.array_equal(tiff.asarray(), expected), f"{image.name} is not the result"

    def _finished_once(self, report: Path) -> None:
        """A report stands beside its image, is about this raw file, and is never written anew."""
        stem = report.name.removesuffix(".json")
        image = report.with_name(f"{stem}.ome.tif")
        if self._finished.get(report) == _identity(report):
            assert self._finished[image] == _identity(image), f"{image.name} was made twice"
            return
        told = json.loads(report.read_text(encoding="utf-8"))
        raw = self.raw_folder / told["source"]["name"]
        pixels = tifffile.imread(raw)
        assert told["stacks"][0]["raw_crc32"] == zlib.crc32(pixels.data)
        for path in (report, image):
            before = self._finished.setdefault(path, _identity(path))
            assert before == _identity(path), f"{path.name} was made twice"


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
