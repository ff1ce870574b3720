"""A picture that a person can judge: stacks side by side, same plane, same contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

_GAP = 8
_CAPTION = 26


def comparison_picture(panels: dict[str, NDArray[np.generic]]) -> Image:
    """Return the panels side by side: the middle plane, and below it a part of it enlarged 4 times.

    Parameters
    ----------
    panels
        Caption to stack (Z, Y, X), all of one shape and unit. The last is the truth; its 0.5th and
        99.8th percentiles are black and white in every panel.
    """
    from PIL import Image, ImageDraw, ImageFont

    stacks = list(panels.values())
    black, white = np.percentile(stacks[-1].astype(np.float64), (0.5, 99.8))
    _, height, width = stacks[0].shape
    canvas = Image.new(
        "L",
        (len(panels) * (width + _GAP) + _GAP, _CAPTION + 2 * (height + _GAP) + _GAP),
        color=16,
    )
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=15)
    for column, (caption, stack) in enumerate(panels.items()):
        plane = stack[stack.shape[0] // 2].astype(np.float64)
        grey = np.clip((plane - black) / (white - black), 0, 1) ** 0.7
        whole = Image.fromarray((grey * 255).astype(np.uint8))
        left, top = width * 3 // 8, height * 3 // 8
        part = whole.crop((left, top, left + width // 4, top + height // 4))
        x = _GAP + column * (width + _GAP)
        draw.text((x, 5), caption, fill=235, font=font)
        canvas.paste(whole, (x, _CAPTION))
        enlarged = part.resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (x, _CAPTION + height + _GAP))
        draw.rectangle(
            (x + left, _CAPTION + top, x + left + width // 4, _CAPTION + top + height // 4),
            outline=150,
        )
    return canvas
