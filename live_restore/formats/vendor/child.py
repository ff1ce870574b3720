"""The process in which a vendor's file is opened: with limits, and with nothing to lose.

    python -P -m live_restore.formats.vendor.child MODULE FILE

What it says is in ``protocol.py``. It ends when whoever started it lets go of its standard input.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from live_restore.formats.vendor.protocol import HEADER, MAX_TEXT, Kind, Refusal
from live_restore.formats.vendor.reader import VendorFile

_MEMORY = 4 * 2**30
"""Address space beside what the file takes, mapped and unpacked: readers and decoders need less
than 1 GiB of it."""
_OPEN_FILES = 64
_CPU_S = 24 * 3600


def main(module: str, path: Path) -> None:
    """Describe a file, then give the stacks that are asked for."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a package prints must not get between the frames
    warnings.simplefilter("ignore")
    # A lock on a file is felt by the program that writes it.
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
    try:
        _limit(path.stat().st_size)
        reader: VendorFile = importlib.import_module(f"{__package__}.{module}").open_file(path)
        _send(pipe, Kind.DESCRIPTION, reader.description.to_json())
        # Unbuffered: whoever asks waits for the answer before he asks again.
        with os.fdopen(os.dup(0), "rb", buffering=0) as questions:
            while line := questions.readline(100):
                position, time, channel = map(int, line.split())
                volume = reader.read(position, time, channel)
                pipe.write(HEADER.pack(Kind.VOXELS.encode(), volume.nbytes))
                for plane in volume:
                    _write(pipe, plane.tobytes())
    except Refusal as refusal:
        _send(pipe, Kind.REFUSAL, f"{refusal.what}\n{refusal.remedy}".encode())
    except BrokenPipeError:
        pass
    except MemoryError:
        _send(pipe, Kind.ERROR, b"it takes more memory than it may have")
    except Exception as error:  # noqa: BLE001 - other people's packages, and anybody's file
        _send(pipe, Kind.ERROR, f"{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        with suppress(OSError):
            pipe.close()
        # Packages leave threads and open maps behind; nothing here is worth waiting for.
        os._exit(0)


def _limit(file_bytes: int) -> None:
    """Take away what reading a file does not need; on Windows there are no such limits."""
    try:
        import resource
    except ImportError:
        return
    import psutil

    memory = _MEMORY + min(2 * file_bytes, psutil.virtual_memory().total)
    for name, most in (
        ("RLIMIT_AS", memory),
        ("RLIMIT_FSIZE", 0),  # it writes no file
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", _OPEN_FILES),
        ("RLIMIT_CPU", _CPU_S),
    ):
        with suppress(AttributeError, ValueError, OSError):  # not everywhere, not that high
            resource.setrlimit(getattr(resource, name), (most, most))


def _send(pipe: BinaryIO, kind: Kind, payload: bytes) -> None:
    payload = payload[:MAX_TEXT]
    with suppress(OSError):
        _write(pipe, HEADER.pack(kind.encode(), len(payload)) + payload)


def _write(pipe: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
