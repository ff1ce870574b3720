"""Zip archives that may be damaged, or meant to do harm."""

from __future__ import annotations

import struct
import zipfile
import zlib

BAD_ZIP = (
    OSError, EOFError, ValueError, struct.error, OverflowError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What the standard library raises for damaged archives; its ``UnicodeDecodeError`` is a
``ValueError``. For what is encrypted it raises ``RuntimeError``."""
