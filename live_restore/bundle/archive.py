"""The zip of a bundle: the same files give the same bytes, on every computer and every day."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

from live_restore.files.publish import publishing

# The first that a zip can say.
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_LEVEL = 6
_FILE, _PROGRAM = 0o100644, 0o100755


def write_zip(folder: Path, output: Path) -> None:
    """Write a folder, by its own name, as a zip; nothing has that name before it is whole.

    Raises
    ------
    OutputError
        The disk refused.
    """
    with (
        publishing(output) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
    ):
        for path in files_below(folder):
            name = path.relative_to(folder.parent).as_posix()
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = _UNIX
            entry.external_attr = (_PROGRAM if os.access(path, os.X_OK) else _FILE) << 16
            with (
                path.open("rb") as source,
                archive.open(entry, "w", force_zip64=path.stat().st_size > 2**31) as target,
            ):
                shutil.copyfileobj(source, target, 2**20)


def files_below(folder: Path) -> list[Path]:
    """Return the files of a folder and those below it, in the order of their names."""
    return sorted(
        (Path(above) / name for above, _, names in os.walk(folder) for name in names),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
