"""The metadata files of an OME-Zarr acquisition: where they may lie, and what is in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from live_restore.errors import StackChangedError, StackUnreadableError
from live_restore.files.raw_data import opened, read_at
from live_restore.files.values import NotJsonError, json_object
from live_restore.formats.zarr.arrays import Array, parse_v2, parse_v3
from live_restore.formats.zarr.metadata import OmeZarrError

MAX_METADATA = 32 * 2**20
"""Bytes of one group's metadata; pymmcore-plus adds about 150 bytes for each plane."""

_METADATA = ("zarr.json", ".zattrs", ".zarray")

Stamp = tuple[int, int, int]
"""Size, inode (a file that was replaced has another) and mtime in ns of a metadata file."""


def inside(folder: Path, path: str) -> Path:
    """Return a path below ``folder``; what leads outside is refused.

    Raises
    ------
    OmeZarrError
        The metadata name a path that they must not.
    """
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise OmeZarrError(f"names a path that cannot be: {path[:80]!r}") from error
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") or re.search(r"[\\:\0]", part) for part in parts):
        raise OmeZarrError(f"names a path outside of the acquisition: {path[:80]!r}")
    for part in parts:
        folder = folder / part
        try:
            link = folder.is_symlink()
        except OSError as error:
            raise OmeZarrError(f"names a path that cannot be: {path[:80]!r}") from error
        if link:
            raise OmeZarrError(f"a link, which is not followed: {path[:80]!r}")
    return folder


def _load(path: Path) -> dict[str, Any] | None:
    """Return a JSON file, ``None`` where it is not there or torn."""
    try:
        with opened(path) as (stream, size):
            if size > MAX_METADATA:
                raise StackUnreadableError(f"metadata of {size} bytes", path, "leave it out")
            return json_object(read_at(stream, 0, size))
    except (StackChangedError, NotJsonError):
        return None


def attributes_of(folder: Path) -> Mapping[str, Any] | None:
    """Return a group's OME attributes (0.5: ``ome`` in zarr.json; 0.4: ``.zattrs``)."""
    group = _load(folder / "zarr.json")
    if group is not None:
        attributes = group.get("attributes")
        if not isinstance(attributes, dict):
            return {}
        inner = attributes.get("ome")
        return {**attributes, **inner} if isinstance(inner, dict) else attributes
    return _load(folder / ".zattrs")


def why_unread(*folders: Path) -> str:
    """Return what keeps an image from being read, now or for good."""
    for folder in folders:
        found = next((n for n in _METADATA if (folder / n).exists()), None)
        if found is not None and _load(folder / found) is None:
            return f"its {found} is damaged"
    return "its metadata are missing"


def array_in(folder: Path) -> Array | None:
    """Return the array whose metadata lie in a folder, ``None`` where none are there, or torn.

    Raises
    ------
    ZarrError
        It is none that can be read.
    """
    raw = _load(folder / "zarr.json")
    if raw is not None:
        return parse_v3(raw) if raw.get("node_type") == "array" else None
    raw = _load(folder / ".zarray")
    return parse_v2(raw) if raw is not None else None


def stamp_of(folder: Path) -> Stamp | None:
    """Return a value that changes when a folder's metadata do."""
    for name in ("zarr.json", ".zattrs"):
        try:
            status = os.stat(folder / name)  # noqa: PTH116 - one call, no Path.stat per part
        except OSError:
            continue
        return status.st_size, status.st_ino, status.st_mtime_ns
    return None
