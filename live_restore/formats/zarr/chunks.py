"""Finds the chunks of a Zarr array that are there and were not there before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from live_restore.errors import StackChangedError
from live_restore.files.raw_data import names_in
from live_restore.formats.zarr.arrays import Array


def nested_chunks(
    folder: Path, index: tuple[int, ...], array: Array, done: set[tuple[int, ...]]
) -> Iterator[tuple[int, ...]]:
    """Yield chunks that are new, below one folder; whole branches are not looked at again."""
    if index in done:
        return
    depth = len(index)
    try:
        files, folders = names_in(folder)
    except StackChangedError:
        return  # nothing written there yet
    leaf = depth == len(array.shape) - 1
    limit = array.grid[depth]
    for name in files if leaf else folders:
        if not re.fullmatch(r"0|[1-9]\d{0,8}", name) or int(name) >= limit:
            continue
        inner = (*index, int(name))
        if leaf:
            if inner not in done and _is_chunk(folder / name, array):
                done.add(inner)
                yield inner
        else:
            yield from nested_chunks(folder / name, inner, array, done)
    if all((*index, n) in done for n in range(limit)):
        done.add(index)
        done.difference_update([(*index, n) for n in range(limit)])


def flat_chunks(
    folder: Path, array: Array, done: set[tuple[int, ...]]
) -> Iterator[tuple[int, ...]]:
    """Yield chunks that are new, where all lie in one folder."""
    try:
        files, _ = names_in(folder)
    except StackChangedError:
        return
    for name in files:
        parts = name.split(".")
        if array.prefix and parts.pop(0) != array.prefix:
            continue
        if len(parts) != len(array.shape) or not all(
            re.fullmatch(r"0|[1-9]\d{0,8}", part) for part in parts
        ):
            continue
        index = tuple(map(int, parts))
        if any(n >= limit for n, limit in zip(index, array.grid, strict=True)):
            continue
        if index not in done and _is_chunk(folder / name, array):
            done.add(index)
            yield index


def _is_chunk(path: Path, array: Array) -> bool:
    """Return whether a chunk's file can be whole: not empty, and all there if uncompressed."""
    try:
        size = path.stat().st_size
    except OSError:
        return False
    return size == array.chunk_bytes if not array.codecs else size > 0
