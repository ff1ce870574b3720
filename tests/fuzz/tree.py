"""A small file tree in memory: what a mutation changes, and what a reader is then given."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Tree:
    """Files below one folder.

    Parameters
    ----------
    files
        Content by relative path.
    sizes
        Files that are longer than their content: the rest is a hole.
    odd
        What lies where a file or folder belongs: "fifo", "socket", "folder", "loop" (a symbolic
        link to itself), "up" (a link to the folder above), "device" (a link to ``/dev/zero``).
    """

    files: dict[str, bytes] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Tree:
        """Return a copy that may be changed."""
        return Tree(dict(self.files), dict(self.sizes), dict(self.odd))

    def write(self, folder: Path) -> None:
        """Make ``folder`` hold this tree and nothing else."""
        clear(folder)
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            if name in self.sizes:
                os.truncate(path, self.sizes[name])
        for name, what in self.odd.items():
            path = folder / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue  # something odd is there already
            if path.parent.is_symlink():
                continue
            _remove(path)
            _put_odd(path, what)

    @classmethod
    def read(cls, folder: Path) -> Tree:
        """Return what ``folder`` holds; trailing zeros beyond 64 kB become a hole."""
        tree = cls()
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            name = path.relative_to(folder).as_posix()
            size = path.stat().st_size
            with path.open("rb") as stream:
                data = stream.read(256 * 1024)
            if size > len(data):
                tree.sizes[name] = size
            tree.files[name] = data.rstrip(b"\0") if size > 64 * 1024 else data
            if len(tree.files[name]) < size:
                tree.sizes[name] = size
        return tree


def clear(folder: Path) -> None:
    """Empty a folder, whatever lies in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put_odd(path: Path, what: str) -> None:
    if what == "fifo":
        os.mkfifo(path)
    elif what == "socket":
        # A bound socket stays as a name in the folder; only its own folder's name is short enough.
        here = Path.cwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name[:90])
        finally:
            os.chdir(here)
    elif what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "up":
        path.symlink_to("..")
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        raise ValueError(what)
