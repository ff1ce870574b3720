"""A picture of example patches, so that a person sees what the numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from live_restore_export.training.patches import Patch

if TYPE_CHECKING:
    from PIL.Image import Image

_ROWS = 4
_GAP = 6
_CAPTION = 22
_SHOWN_PIXELS = 192
"""Patches are enlarged by a whole number to about this width."""


def examples_picture(patches: Sequence[Patch], restored: Sequence[NDArray[np.float32]]) -> Image:
    """Return raw | restored | truth, the central plane of up to four patches, one per row.

    The 0.5th and 99.8th percentiles of the truth's plane are black and white in its whole row.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows = list(zip(patches, restored, strict=True))[:_ROWS]
    _, height, width = patches[0].noisy.shape
    times = max(1, _SHOWN_PIXELS // width)
    step_x, step_y = width * times + _GAP, height * times + _GAP
    canvas = Image.new("L", (3 * step_x + _GAP, len(rows) * step_y + _CAPTION), color=16)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    for column, caption in enumerate(("raw", "restored", "truth")):
        draw.text((_GAP + column * step_x, 3), caption, fill=235, font=font)
    for row, (patch, image) in enumerate(rows):
        middle = patch.truth.shape[0] // 2
        black, white = np.percentile(patch.truth[middle], (0.5, 99.8))
        for column, stack in enumerate((patch.noisy, image, patch.truth)):
            grey = np.clip((stack[middle] - black) / max(white - black, 1e-6), 0, 1)
            tile = Image.fromarray((grey * 255).astype(np.uint8)).resize(
                (width * times, height * times), Image.Resampling.NEAREST
            )
            canvas.paste(tile, (_GAP + column * step_x, _CAPTION + row * step_y))
    return canvas
