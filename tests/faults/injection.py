"""What is made to fail inside a process under test, told by a file that a test writes and removes.

The file holds ``{"rules": [...], "clock_s": 0.0, "hints": "all" | "none" | "odd" | "ghosts"}``. A
rule is

    {"at": STEP, "do": "kill" or an errno, "name": GLOB, "after": N, "planes": Z, "over": VOXELS}

and holds, after ``N`` matching steps in this process, for every further one until the file is
changed. The steps of writing are those of the seam, ``live_restore.files.disk.Disk``, and
``write``; beside them ``read-open``, ``read`` and ``list`` of raw data, and ``run`` of the network,
where ``do`` may be a text: the message of ONNX Runtime's own exception.
"""

from __future__ import annotations

import fnmatch
import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from live_restore.files import disk

STEPS = ("open", "write", "sync", "remove", "replace", "sync_folder")
Rule = dict[str, Any]


class Faults:
    """The rules that hold now; the file is looked at before every step."""

    def __init__(self, file: Path, record: Path | None = None) -> None:
        self._file = file
        self._record = record
        self._met: Counter[str] = Counter()

    def now(self) -> dict[str, Any]:
        """Return what the file says."""
        try:
            return dict(json.loads(self._file.read_text()))
        except (FileNotFoundError, ValueError):  # absent, or just being replaced
            return {}

    def meet(self, step: str, path: Path | str, planes: int = 0, voxels: int = 1) -> None:
        """Come to a step: fail or die where a rule says so."""
        name = Path(path).name
        if self._record is not None:
            with self._record.open("a") as file:
                file.write(f"{step} {name}\n")
        for rule in self.now().get("rules", []):
            if rule["at"] not in (step, "any" if step in STEPS else "") or not fnmatch.fnmatch(
                name, rule.get("name", "*")
            ):
                continue
            if rule.get("planes", planes) != planes or voxels <= rule.get("over", 0):
                continue
            key = json.dumps(rule, sort_keys=True)
            self._met[key] += 1
            if self._met[key] > rule.get("after", 0):
                self._fail(rule["do"])

    def _fail(self, what: str | int) -> None:
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(what, int):
            raise OSError(what, os.strerror(what))
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        raise state.RuntimeException(what)


class FaultyDisk(disk.Disk):
    """A disk on which each step may fail; a folder goes by the name of the file touched last."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._touched = Path()

    def open(self, path: Path, mode: str) -> BinaryIO:
        """Open a file whose every write is a step."""
        self._touched = path
        self._faults.meet("open", path)
        faults = self._faults

        class Raw(io.FileIO):
            def write(self, data: Any, /) -> int:
                faults.meet("write", path)
                return super().write(data)

        assert mode in ("wb", "wb+"), mode
        return cast("BinaryIO", io.BufferedRandom(Raw(path, "w+")))

    def sync(self, path: Path) -> None:
        """Sync a file."""
        self._faults.meet("sync", path)
        super().sync(path)

    def replace(self, temporary: Path, final: Path) -> None:
        """Rename."""
        self._touched = final
        self._faults.meet("replace", final)
        super().replace(temporary, final)

    def give(self, temporary: Path, final: Path) -> None:
        """Rename to a name that is free: the same step."""
        self._touched = final
        self._faults.meet("replace", final)
        super().give(temporary, final)

    def sync_folder(self, folder: Path) -> None:
        """Sync a folder."""
        self._faults.meet("sync_folder", self._touched)
        super().sync_folder(folder)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        self._faults.meet("remove", path)
        super().remove(path)


def install(faults: Faults, root: Path) -> None:
    """Put the faults into this process, which watches ``root``."""
    disk.current = FaultyDisk(faults)
    _into_reading(faults, root)
    _into_the_clock(faults)
    _into_hints(faults, root)
    _into_the_network(faults)


def _into_reading(faults: Faults, root: Path) -> None:
    from live_restore.files import raw_data as reading

    listed, opened = os.scandir, reading.open_regular

    def is_raw(path: Path) -> bool:
        return path.suffix == ".tif" and path.is_relative_to(root) and "restored" not in path.parts

    def open_raw(path: Path, **options: Any) -> BinaryIO:
        if not is_raw(path):
            return opened(path, **options)
        faults.meet("read-open", path)

        class Raw(io.FileIO):
            def readinto(self, buffer: Any, /) -> int:
                faults.meet("read", path)
                return super().readinto(buffer)

        with opened(path, **options) as stream:
            raw = Raw(os.dup(stream.fileno()), "r")
        return cast("BinaryIO", io.BufferedReader(raw) if options.get("buffered") else raw)

    def scandir(path: Any = ".") -> Any:
        if Path(os.fsdecode(path)).is_relative_to(root):
            faults.meet("list", os.fsdecode(path))
        return listed(path)

    reading.open_regular = open_raw
    os.scandir = scandir  # type: ignore[assignment]


def _into_the_clock(faults: Faults) -> None:
    real: Callable[[], float] = time.time
    time.time = lambda: real() + float(faults.now().get("clock_s", 0.0))


def _into_hints(faults: Faults, root: Path) -> None:
    from live_restore.sources.folder import FolderSource

    hint, count = FolderSource.hint, Counter[str]()

    def unreliable(self: FolderSource, path: Path) -> None:
        kind = faults.now().get("hints", "all")
        count[kind] += 1
        if kind == "none" or (kind == "odd" and count[kind] % 2):
            return
        if kind == "ghosts":
            hint(self, root / f"ghost {count[kind]}.tif")
            hint(self, root / "gone" / f"ghost {count[kind]}.tif")
        hint(self, path)

    FolderSource.hint = unreliable  # type: ignore[method-assign]


def _into_the_network(faults: Faults) -> None:
    import onnxruntime

    run = onnxruntime.InferenceSession.run

    def fallible(self: Any, names: Any, feed: dict[str, Any], *more: Any) -> Any:
        tile = next(iter(feed.values()))
        faults.meet("run", "tile", tile.shape[2], tile.size)
        return run(self, names, feed, *more)

    onnxruntime.InferenceSession.run = fallible


def install_from(control: str, record: str | None, root: str) -> None:
    """Install the faults that a file holds, in this process."""
    install(Faults(Path(control), None if record is None else Path(record)), Path(root))
