"""The night report as one page of HTML: pictures and all in one file, for the lab book.

No script and nothing from elsewhere: it opens in ten years, and from a memory stick.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from live_restore.errors import LiveRestoreError, one_line
from live_restore.overview.entries import ShownEntry, ShownStack
from live_restore.page import pictures
from live_restore.page.pixels import Pixels
from live_restore.stack import FOR_BRIGHTNESS, StackIndex
from live_restore.trust.digits import change_in_words, decibels_in_words, ratio_in_words

_MOST_PICTURES = 200
"""About 2 MB of pictures: what a mail and a lab book take."""
_PLANES = 8
_CHART = (560, 110, 52, 20)
"""Width, height, and the room for the axes at the left and below."""


class _Quantity(NamedTuple):
    """What a chart shows."""

    name: str
    words: Callable[[float], str]
    """How a value is told: as by ``status`` and the page."""
    at_least: tuple[float, float] = (0.0, 0.0)
    """From where to where its axis goes at least."""


_DELAY = _Quantity("delay (s)", "{:.1f}".format)
_OF_STACKS: dict[_Quantity, Callable[[ShownStack], float | None]] = {
    _Quantity("signal to noise", ratio_in_words): lambda stack: stack.snr,
    _Quantity("gain over raw (dB)", decibels_in_words): lambda stack: stack.gain_db,
    # Bleaching is percents: a difference of a thousandth must not look like one.
    _Quantity("light of bright regions against raw (%)", change_in_words, (-10.0, 10.0)): (
        lambda stack: stack.flux_bias_percent
    ),
    _Quantity("half the light would cost (dB)", decibels_in_words): (
        lambda stack: stack.half_light_db
    ),
}

_NUMBER = re.compile(r"([0-9]{1,18})")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1c2024; background: #fff; }
h1 { font-size: 1.4rem; margin-bottom: .3rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .5rem }
pre { white-space: pre-wrap; font: inherit; margin: 0 }
table { border-collapse: collapse; margin-top: .8rem; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0;
  border-bottom: 1px solid #ddd; overflow-wrap: break-word }
td:first-child { white-space: nowrap } td:nth-child(2) { max-width: 18rem; min-width: 9rem }
.tiles { display: flex; flex-wrap: wrap; gap: .9rem .7rem }
figure { margin: 0; width: 140px; font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere }
img { width: 140px; display: block; background: #000; border-radius: 3px }
/* What is said of a stack needs room: the picture beside it. */
.said { display: flex; gap: .7rem; width: 33.5rem; max-width: 100% }
.said img, .said > p { flex: none; width: 140px; align-self: flex-start }
.doubtful img { outline: 3px solid #b45309 } .doubtful b { color: #92400e }
figure.chart { width: auto; font-size: .85rem; margin: .3rem 0 .8rem }
svg { display: block; max-width: 100% } text { font-size: 11px; fill: #555 }
line { stroke: #ddd } polyline { fill: none; stroke: #0f62ac; stroke-width: 1.5 }
"""


def night_html(
    name: str,
    lines: Sequence[str],
    rows: Sequence[tuple[str, str, str]],
    shown: Sequence[ShownEntry],
    pixels: Pixels,
) -> str:
    """Return the page.

    Parameters
    ----------
    name
        Of the run.
    lines
        The report in words.
    rows
        State, file or stack, and why, of those that a person should look at.
    shown
        Every entry; those that are doubtful come first among the pictures.
    pixels
        Where pictures come from; a result that cannot be read has none.
    """
    words = "\n".join(escape(line) for line in lines)
    charts = "".join(_chart(*series) for series in _series(shown) if len(series[-1]) > 1)
    tiles = "".join(_tiles(shown, pixels))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(one_line(name))} – live-restore</title><style>{_STYLE}</style>"
        f"<h1>{escape(one_line(name))}</h1><pre>{words}</pre>{_table(rows)}"
        f"<h2>Over the run</h2>{charts or '<p>too few stacks</p>'}"
        f'<h2>Restored stacks</h2><div class="tiles">{tiles}</div></html>\n'
    )


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows
    )
    return f"<table><tr><th>state<th>file or stack<th>why</tr>{cells}</table>"


def _series(
    shown: Sequence[ShownEntry],
) -> Iterator[tuple[_Quantity, str, list[tuple[float, float]]]]:
    """Return what there are charts of, each with its channel and its values over time (s)."""
    known = [(each.entry.finished_at, each.facts) for each in shown if each.facts is not None]
    done = sorted(((at, facts) for at, facts in known if at is not None), key=lambda each: each[0])
    yield _DELAY, "", [(at, facts.delay_s) for at, facts in done if facts.delay_s is not None]
    for quantity, value_of in _OF_STACKS.items():
        found: dict[str, list[tuple[float, float]]] = {}
        for at, facts in done:
            for stack in facts.stacks:
                value = value_of(stack)
                if value is not None:
                    found.setdefault(stack.channel_name, []).append((at, value))
        for channel, values in list(found.items())[:8]:
            yield quantity, f", {channel}", values


def _chart(quantity: _Quantity, of: str, values: Sequence[tuple[float, float]]) -> str:
    """Return one curve with its axes: clock times below, values at the left."""
    width, height, left, bottom = _CHART
    first, last = values[0][0], values[-1][0]
    known = [value for _, value in values]
    floor, ceiling = quantity.at_least
    low, high = min(floor, *known), max(ceiling, *known)
    span, rise = (last - first) or 1.0, (high - low) or 1.0

    def place(at: float, value: float) -> tuple[float, float]:
        x = left + (at - first) / span * (width - left - 4)
        return x, 6 + (1 - (value - low) / rise) * (height - bottom - 6)

    points = " ".join("{:.1f},{:.1f}".format(*place(at, value)) for at, value in values)
    lines = "".join(
        f'<line x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{told}</text>'
        for value in dict.fromkeys((low, max(low, 0.0), high))
        for _, y in (place(first, value),)
        for told in (quantity.words(value) if value else "0",)
    )
    name = escape(one_line(quantity.name + of), quote=True)
    return (
        f'<figure class="chart"><figcaption>{name}</figcaption>'
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{name}, '
        f'{quantity.words(known[0])} to {quantity.words(known[-1])}">'
        f'{lines}<polyline points="{points}"/>'
        f'<text x="{left}" y="{height - 2}">{_clock(first)}</text>'
        f'<text x="{width}" y="{height - 2}" text-anchor="end">{_clock(last)}</text></svg></figure>'
    )


def _clock(at: float) -> str:
    return time.strftime("%d %b %H:%M:%S", time.localtime(at))


def _tiles(shown: Sequence[ShownEntry], pixels: Pixels) -> Iterator[str]:
    stacks = [(each, stack) for each in shown if each.facts for stack in each.facts.stacks]
    stacks.sort(key=lambda pair: _place(*pair))
    doubtful = [pair for pair in stacks if pair[1].doubts]
    others = [pair for pair in stacks if not pair[1].doubts]
    room = max(0, _MOST_PICTURES - len(doubtful))
    step = -(-len(others) // room) if room else 0
    chosen = [*doubtful[:_MOST_PICTURES], *(others[::step] if step else [])]
    for each, stack in chosen:
        yield _tile(each, stack, pixels)
    if len(chosen) < len(stacks):
        yield f"<p>{len(chosen)} of {len(stacks)}: all that are doubtful, and others in between</p>"


def _place(each: ShownEntry, stack: ShownStack) -> tuple[object, ...]:
    """Return by what pictures are sorted: as a person counts, not as they were finished."""
    parts = _NUMBER.split(one_line(each.entry.key.acquisition.as_posix()))
    name = tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)
    return name, stack.position, stack.time, stack.channel


def _tile(each: ShownEntry, stack: ShownStack, pixels: Pixels) -> str:
    assert each.facts is not None
    depth = each.facts.shape_zyx[0]
    step = -(-depth // _PLANES)
    at = StackIndex(*map(int, stack.id.split("-")[1:]))
    try:
        picture = pictures.thumbnail(
            pixels.rough_projection(each, at, range(step // 2, depth, step))
        )
    except LiveRestoreError as error:
        image = f"<p>{escape(error.reason)}</p>"
    else:
        data = base64.b64encode(picture).decode("ascii")
        image = f'<img alt="" src="data:image/png;base64,{data}">'
    doubts = "".join(f"<br><b>doubtful:</b> {escape(doubt)}" for doubt in stack.doubts)
    if stack.brightness_doubt:
        doubts += f"<br>{FOR_BRIGHTNESS}: {escape(stack.brightness_doubt)}"
    kinds = ["said"] if doubts else []
    kinds += ["doubtful"] if stack.doubts else []
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    label = escape(one_line(each.entry.key)[-80:])
    return (
        f"<figure{kind}>{image}<figcaption>{label}<br>{escape(stack.channel_name)}{doubts}"
        "</figcaption></figure>"
    )
