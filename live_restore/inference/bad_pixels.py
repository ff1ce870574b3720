"""The camera's map of bad pixels: a TIFF image that a person named, read once at the start."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from live_restore.errors import SettingsError
from live_restore.files.reading import read_regular
from live_restore.stack import Mask

# No sensor of today has more; as uint16 it would be 128 MB.
_MOST_PIXELS = 2**26
_MOST_BYTES = 2**28
MOST_BAD = 0.1
"""Share of the pixels: data sheets allow a thousandth, and an inverted map marks nearly all."""


def read_bad_pixels(path: Path) -> Mask:
    """Return which pixels of the camera are bad, (Y, X) bool: those above 0 in the image.

    Raises
    ------
    SettingsError
        It cannot be read, is not one grey image of numbers, or marks what no camera has.
    """
    from tifffile import TiffFile

    remedy = "name a TIFF image of one plane, as `live-restore camera --save-map` writes it"
    try:
        with TiffFile(io.BytesIO(read_regular(path, _MOST_BYTES))) as tif:
            page = tif.pages[0]
            shape = page.shape
            if len(tif.pages) > 1 or len(shape) != 2 or shape[0] * shape[1] > _MOST_PIXELS:
                raise SettingsError(f"is not one grey image, but {shape}", path, remedy)
            pixels = page.asarray()
            if not np.isfinite(pixels).all():
                raise SettingsError("holds pixels that are no numbers (NaN)", path, remedy)
            bad = np.asarray(pixels > 0)
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror})", path, remedy) from None
    except (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError) as error:
        # What tifffile and its decoders raise for damaged files.
        raise SettingsError(
            f"is not a TIFF image that can be read: {error}", path, remedy
        ) from None
    share = float(bad.mean())
    if share > MOST_BAD:
        raise SettingsError(
            f"marks {100 * share:.0f} % of the pixels as bad, which no camera has", path,
            "mark the bad pixels only, above 0, or measure them with `live-restore camera --dark`",
        )  # fmt: skip
    return bad
