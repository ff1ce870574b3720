"""A watched folder with its source and journal, and a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.table import make_acquisition_formats
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.sources.folder import FolderSource
from live_restore.sources.source import Callbacks


def stack(path: Path, planes: int = 3, *, declared: bool = True) -> Path:
    """Write a small stack; undeclared, it does not say how many planes it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(planes).integers(1, 200, (planes, 8, 8)).astype(np.uint16)
    metadata = {"axes": "ZYX"} if declared else None
    tifffile.imwrite(path, image, photometric="minisblack", metadata=metadata)
    return path


@dataclass
class Scene:
    """A watched folder, its journal, and a clock."""

    root: Path
    journal_file: Path
    settings: dict[str, Any] = field(default_factory=dict)
    now: float = 1000.0
    worked: float = 0.0
    bad: list[tuple[Path, State]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    stopping: bool = False
    format: TiffFormat = field(default_factory=TiffFormat)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.journal = Journal(self.journal_file, self.root, recipe="one")
        settings = load_settings(None, {"watch": {"stall_s": 60}, **self.settings})
        self.source = FolderSource(
            self.root,
            (self.format,),
            make_acquisition_formats(plane_pattern=settings.files.plane_pattern),
            self.journal,
            settings,
            Callbacks(
                lambda key, state: self.bad.append((key.path, state)),
                self.warnings.append,
                lambda: self.stopping,
                lambda: self.arrivals.append(self.now),
            ),
            lambda: self.now,
            lambda: self.worked,
        )

    def restart(self, **settings: Any) -> None:
        self.journal.close()
        self.settings = settings
        self.start()

    def poll(self, seconds: float = 0.0, times: int = 1) -> None:
        """Let ``seconds`` pass and look, ``times`` times."""
        for _ in range(times):
            self.now += seconds
            self.source.poll()

    def unsettled(self) -> int:
        """Return how many files are not decided yet."""
        return len(self.source._files.open_questions())

    def settle(self) -> None:
        """Look, wait long enough for any finished file, and look again."""
        self.poll()
        self.poll(2.5)
        self.poll(2.5)

    def states(self) -> dict[str, State]:
        return {e.key.path.as_posix(): e.state for e in self.journal.entries()}

    def entry(self, name: str) -> Entry:
        return next(e for e in self.journal.entries() if e.key.path == Path(name))


class Slow(TiffFormat):
    """Takes its time with large.tif, during which others are written."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def inspect(self, path: Path) -> Arriving | Complete | None:
        if path.name == "large.tif":
            self.meanwhile()
        return super().inspect(path)
