r"""``[[watch]]``: the folders that a settings file names, each with settings of its own.

::

    [inference]                  common to all folders
    device = "cuda"

    [[watch]]
    folder = 'D:\data'

    [[watch]]
    folder = 'E:\screens'
    stall_s = 3600.0             as in [watch]
    [watch.inference]            hides what is common
    device = "cuda:1"

What an entry gives is a layer of its own, right above the file that holds it: what is common to all
folders may stand in that file or in a lower one.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from live_restore.errors import SettingsError
from live_restore.settings.layers import FOLDER, FOLDERS, Layer
from live_restore.settings.model import Settings, WatchSettings
from live_restore.settings.paths import absolute


@dataclass(frozen=True)
class WatchedFolder:
    """A folder that a settings file names.

    Parameters
    ----------
    folder
        Absolute.
    layer
        What the file gives for this folder alone, and which file that is.
    """

    folder: Path
    layer: Layer

    def is_called(self, folder: str | Path) -> bool:
        """Return whether this is that folder, by its name alone: its disk may be far, or away."""
        return _same(self.folder, folder)

    def contains(self, folder: Path) -> bool:
        """Return whether a folder lies inside this one, which is watched with its sub-folders."""
        watch = self.layer.values.get(FOLDERS)
        recursive = watch.get("recursive", True) if isinstance(watch, dict) else True
        above = Path(os.path.normpath(folder)).parents
        return recursive is not False and any(map(self.is_called, above))

    @property
    def as_it_lies(self) -> WatchedFolder:
        """The same, called as the links in its name lead."""
        return replace(self, folder=Path(os.path.realpath(self.folder)))

    @property
    def is_there(self) -> bool:
        """Whether its disk is there just now; a share that is away raises all kinds of errors."""
        try:
            return self.folder.is_dir()
        except OSError:
            return False

    @property
    def own_keys(self) -> list[str]:
        """What is set for this folder alone, as ``section.key``; of a list, the section."""
        return [
            f"{section}.{key}" if key else section
            for section, values in self.layer.values.items()
            for key in (values if isinstance(values, dict) else ("",))
        ]


def folders_in(layers: Sequence[Layer]) -> list[WatchedFolder]:
    """Return the folders that the highest layer with ``[[watch]]`` names, in its order.

    Raises
    ------
    SettingsError
        An entry has no folder, or an unknown key; or a folder is named twice, or lies in another.
    """
    layer = _naming(layers)
    if layer is None:
        return []
    found: list[WatchedFolder] = []
    for number, entry in enumerate(layer.values[FOLDERS]):
        each = _watched(layer.origin, number, entry)
        for other in found:
            if each.is_called(other.folder):
                raise SettingsError(
                    f"names {each.folder} twice in [[watch]]", layer.origin, "remove one of them"
                )
            for outer, inner in ((each, other), (other, each)):
                if outer.contains(inner.folder):
                    raise SettingsError(
                        f"names {inner.folder}, which is inside {outer.folder}", layer.origin,
                        "remove it, or set recursive = false for the outer one",
                    )  # fmt: skip
        found.append(each)
    return found


def folder_with(entries: Sequence[WatchedFolder], run: Path) -> WatchedFolder | None:
    """Return the folder that is watched with a run, an acquisition or files: it, or one above."""
    folder = (run if run.is_dir() else run.parent).absolute()
    real = Path(os.path.realpath(folder))
    return _entry_for(entries, folder) or next(
        (each for each in entries if each.contains(folder) or each.as_it_lies.contains(real)), None
    )


def layers_for(layers: Sequence[Layer], folder: Path | None) -> list[Layer]:
    """Return layers of settings without ``[[watch]]``, with what is for ``folder`` alone.

    Raises
    ------
    SettingsError
        See :func:`folders_in`.
    """
    mine = _entry_for(folders_in(layers), folder)
    naming = _naming(layers)
    result = []
    for layer in layers:
        result.append(_without_folders(layer))
        if mine is not None and layer is naming:
            result.append(mine.layer)
    return result


def _entry_for(entries: Sequence[WatchedFolder], folder: Path | None) -> WatchedFolder | None:
    if folder is None:
        return None
    for each in entries:
        if each.is_called(folder.absolute()):
            return each
    real = os.path.realpath(folder)  # what is beside a daemon is told the real one
    return next((each for each in entries if each.as_it_lies.is_called(real)), None)


def _same(one: str | Path, other: str | Path) -> bool:
    one, other = (os.path.normcase(os.path.normpath(each)) for each in (one, other))
    return one == other


def _naming(layers: Sequence[Layer]) -> Layer | None:
    """Return the layer whose folders count."""
    return next((each for each in reversed(layers) if _names_folders(each)), None)


def _names_folders(layer: Layer) -> bool:
    return isinstance(layer.values.get(FOLDERS), list)


def _without_folders(layer: Layer) -> Layer:
    if not _names_folders(layer):
        return layer
    return Layer(layer.origin, {k: v for k, v in layer.values.items() if k != FOLDERS})


def _watched(origin: str, number: int, entry: Any) -> WatchedFolder:
    place = f"{FOLDERS}.{number}"
    if not isinstance(entry, dict):
        raise SettingsError(f"{place} is not a table", origin, "write [[watch]] above its keys")
    if FOLDER not in entry:
        raise SettingsError(f"{place}.{FOLDER} is missing", origin, "add it")
    sections = [name for name in Settings.model_fields if name != FOLDERS]
    own, others = {}, {}
    for key, value in entry.items():
        if key in sections:
            others[key] = value
        elif key in WatchSettings.model_fields:
            own[key] = value
        elif key != FOLDER:
            known = [FOLDER, *WatchSettings.model_fields, *sections]
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise SettingsError(
                f"{place}.{key} is not a setting", origin, f"did you mean {FOLDERS}.{near}?"
            )
    values = {**({FOLDERS: own} if own else {}), **others}
    try:
        if not str(entry[FOLDER]).strip() or "\0" in str(entry[FOLDER]):
            raise ValueError("not the name of a folder")
        folder = absolute(Path(entry[FOLDER]))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{place}.{FOLDER}: {error}", origin, "mend this value") from None
    return WatchedFolder(folder, Layer(f"{origin}, [[watch]] of {folder}", values))
