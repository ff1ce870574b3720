"""Draw the packages of ``live_restore`` and what they import, as an SVG.

    python docs/tools/draw_architecture.py            draw docs/images/architecture.svg anew
    python docs/tools/draw_architecture.py --check    exit code 1 if it is not current

A room is a package, or a module that lies beside the packages. It stands one floor above the
highest room that it imports, or higher, next below those that import it. Of the arrows only those
are drawn that no longer way implies, so that the picture stays readable. Nothing but the code
decides what is in it.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
_PACKAGE = "live_restore"
_WORKSHOP = "live_restore_export"
# Not rooms: the public face gathers names, and the rest holds no code that others build on.
_NO_ROOM = {"__init__", "__main__", "_version"}

_ROOM_W, _ROOM_H, _BEND_W, _GAP_X, _GAP_Y, _MARGIN = 148, 40, 4, 26, 46, 24


def imports() -> dict[str, set[str]]:
    """Return what every room imports of the others, wherever in its files the line stands."""
    rooms: dict[str, set[str]] = {}
    for top, name in ((ROOT / _PACKAGE, ""), (ROOT / "export" / _WORKSHOP, _WORKSHOP)):
        for path in sorted(top.rglob("*.py")):
            room = name or path.relative_to(top).parts[0].removesuffix(".py")
            if room not in _NO_ROOM:
                rooms.setdefault(room, set()).update(_imported(ast.parse(path.read_bytes())))
    return {room: {other for other in found if other in rooms} - {room}
            for room, found in rooms.items()}  # fmt: skip


def _imported(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == _WORKSHOP:
                yield _WORKSHOP
            elif parts[0] == _PACKAGE and len(parts) > 1:
                yield parts[1]


def floors(rooms: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of every room, 0 the lowest.

    Raises
    ------
    ValueError
        Rooms import each other in a circle.
    """
    lowest: dict[str, int] = {}
    while len(lowest) < len(rooms):
        ready = [room for room in rooms if room not in lowest and rooms[room] <= lowest.keys()]
        if not ready:
            circle = ", ".join(sorted(rooms.keys() - lowest.keys()))
            raise ValueError(f"these packages import each other: {circle}")
        lowest |= {
            room: max((lowest[other] + 1 for other in rooms[room]), default=0) for room in ready
        }
    found: dict[str, int] = {}
    for room in sorted(rooms, key=lowest.__getitem__, reverse=True):
        # As high as those who import it allow: arrows are short then.
        above = [found[other] - 1 for other in rooms if room in rooms[other]]
        found[room] = min(above, default=lowest[room])
    return found


def direct(rooms: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the arrows that no longer way implies."""
    below: dict[str, set[str]] = {}
    for room in sorted(rooms, key=floors(rooms).__getitem__):
        below[room] = rooms[room].union(*(below[other] for other in rooms[room]))
    return sorted(
        (room, other)
        for room, imported in rooms.items()
        for other in imported
        if not any(other in below[between] for between in imported)
    )


def draw() -> str:
    """Return the picture, the same text for the same code."""
    rooms = imports()
    floor = floors(rooms)
    arrows = [(above, *_bends(above, under, floor), under) for above, under in direct(rooms)]
    rows: list[list[str]] = [[] for _ in range(max(floor.values()) + 1)]
    for room in sorted(rooms):
        rows[floor[room]].append(room)
    for above, *bends, _ in arrows:
        for down, bend in enumerate(bends, 1):
            rows[floor[above] - down].append(bend)
    _untangle(rows, [pair for arrow in arrows for pair in itertools.pairwise(arrow)])

    width = 2 * _MARGIN + max(_row_width(row) for row in rows)
    height = 2 * _MARGIN + len(rows) * (_ROOM_H + _GAP_Y) - _GAP_Y
    place: dict[str, tuple[float, float]] = {}
    for n, row in enumerate(rows):
        x = (width - _row_width(row)) / 2
        for item in row:
            place[item] = (
                x + _width(item) / 2,
                height - _MARGIN - _ROOM_H - n * (_ROOM_H + _GAP_Y),
            )
            x += _width(item) + _GAP_X
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">',
        "<title>Packages of live-restore, and what they import: arrows run downwards only</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#607d8b"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#fafafa"/>',
        *(_arrow([place[stop] for stop in arrow]) for arrow in arrows),
        *(_room(room, *place[room]) for room in sorted(rooms)),
        "</svg>",
    ]
    return "\n".join([*lines, ""])


def _bends(above: str, under: str, floor: dict[str, int]) -> list[str]:
    """Return the places where an arrow passes a floor between two rooms."""
    return [f"{above}>{under}>{n}" for n in range(floor[above] - 1, floor[under], -1)]


def _width(item: str) -> int:
    return _BEND_W if ">" in item else _ROOM_W


def _row_width(row: list[str]) -> int:
    return sum(map(_width, row)) + _GAP_X * (len(row) - 1)


def _untangle(rows: list[list[str]], pairs: list[tuple[str, str]]) -> None:
    """Order every row by where the items that it is joined to stand (barycentres)."""
    joined: dict[str, list[str]] = {item: [] for row in rows for item in row}
    for above, under in pairs:
        joined[above].append(under)
        joined[under].append(above)
    for _ in range(24):
        for row in (*rows, *reversed(rows)):
            at = {item: (i + 0.5) / len(each) for each in rows for i, item in enumerate(each)}
            row.sort(key=lambda it: (sum(at[o] for o in joined[it]) / max(1, len(joined[it])), it))


def _arrow(stops: list[tuple[float, float]]) -> str:
    x, y = stops[0][0], stops[0][1] + _ROOM_H
    path = f"M{x:g} {y:g}"
    for to_x, to_y in stops[1:]:
        half = (to_y - y) / 2
        path += f"C{x:g} {y + half:g} {to_x:g} {to_y - half:g} {to_x:g} {to_y:g}"
        x, y = to_x, to_y
        if (to_x, to_y) != stops[-1]:
            y += _ROOM_H
            path += f"V{y:g}"
    return (
        f'<path d="{path}" fill="none" stroke="#607d8b" stroke-width="1.3" marker-end="url(#tip)"/>'
    )


def _room(name: str, x: float, y: float) -> str:
    fill = "#ffe0b2" if name == _WORKSHOP else "#b2dfdb"
    return (
        f'<rect x="{x - _ROOM_W / 2:g}" y="{y:g}" width="{_ROOM_W}" height="{_ROOM_H}" rx="6" '
        f'fill="{fill}" stroke="#37474f"/><text x="{x:g}" y="{y + _ROOM_H / 2 + 5:g}" '
        f'text-anchor="middle" fill="#212121">{escape(name)}</text>'
    )


def main() -> int:
    """Draw, or check."""
    parser = argparse.ArgumentParser(description="Draw docs/images/architecture.svg anew.")
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    if parser.parse_args().check:
        return 0 if PICTURE.read_text(encoding="utf-8") == draw() else 1
    PICTURE.write_text(draw(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
