"""How programs name files of one plane each, and what a name says. Pure.

Only numbers in a name count, never the order in which files are met: a stack has the same index
whoever looks, and whenever.

=================  ====================================================  =========================
MetaXpress         ``TimePoint_1/ZStep_2/plate_B03_s1_w2.TIF``           position: well and site
Yokogawa CV        ``plate_B03_T0001F001L01A01Z01C01.tif``               position: well and field
Bruker             ``run-001_Cycle00001_Ch2_000001.ome.tif``             time: the cycle
MetaMorph          ``run_w2488_s1_t1_z1.tif``                            channel: w2
LAS X, many more   ``run_Series003_t00_z00_ch00.tif``, ``a_z0_c1.tif``   in any order
=================  ====================================================  =========================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from live_restore.settings.plane_pattern import compiled_plane_pattern
from live_restore.stack import StackIndex

TIFF_ENDINGS = (".tif", ".tiff")
LONGEST_NAME = 255
MOST_FIELDS = 1000
"""Fields (sites) of one well that get numbers of their own."""
_WELLS_ACROSS = 48
"""Columns of the largest plates, of 1,536 wells."""
_POSITION_DIGITS = 6
"""A longer number at the end of a run's name is a date, not a position."""


class PlaneName(NamedTuple):
    """What the name of a file says: which plane of which stack of which run it holds.

    ``z`` is as numbered, from 0 or from 1: only its order counts. ``position_name`` is a label,
    empty where the position only has its number.
    """

    run: str
    stack_index: StackIndex
    z: int
    position_name: str = ""


_METAXPRESS = re.compile(
    r"(?P<run>.+?)(?:_(?P<well>[A-P]\d{1,2}))?(?:_s(?P<site>\d{1,6}))?(?:_w(?P<w>\d{1,2}))?"
    r"(?P<guid>[0-9A-F-]{36})?\.tiff?",
    re.IGNORECASE | re.ASCII,
)
_TIME_POINT = re.compile(r"TimePoint_(\d{1,7})", re.IGNORECASE | re.ASCII)
_Z_STEP = re.compile(r"ZStep_(\d{1,6})", re.IGNORECASE | re.ASCII)

_YOKOGAWA = re.compile(
    r"(?P<run>.+)_(?P<well>[A-Z]{1,2}\d{2})_T(?P<t>\d{4,7})F(?P<field>\d{3,6})L(?P<line>\d{2})"
    r"A(?P<action>\d{2})Z(?P<z>\d{2,6})C(?P<c>\d{2})\.tiff?",
    re.ASCII,
)

_BRUKER = re.compile(
    r"(?P<run>.+)_Cycle(?P<t>\d{5,7})_(?:CurrentSettings_)?Ch(?P<c>\d{1,2})_(?P<z>\d{6})"
    r"(?:\.ome)?\.tiff?",
    re.ASCII,
)

_METAMORPH = re.compile(
    r"(?P<run>.+?)_w(?P<w>[1-9]|[1-9]\d(?=\D))(?:[3-9]\d\d(?=\D)|[^\W\d_])[^_]*?"
    r"(?P<tokens>(?:_[stz]\d{1,9}){1,3})\.tiff?",
    re.IGNORECASE | re.ASCII,
)
"""A wavelength has a number and a name, which is letters or begins with nm: 300 to 999."""

_NUMBERED = re.compile(
    r"(?P<run>.*?)(?P<tokens>(?:[_ -](?:zstep|z|time|t|channel|ch|c|w|position|pos|series|s|p)"
    r"_?\d{1,9}){1,5})(?:\.ome)?\.tiff?",
    re.IGNORECASE | re.ASCII,
)
_TOKEN = re.compile(r"[_ -]([a-z]+)_?(\d+)", re.IGNORECASE | re.ASCII)
_MEANS = {
    "zstep": "z", "z": "z", "time": "t", "t": "t",
    "channel": "c", "ch": "c", "c": "c", "w": "c",
    "position": "p", "pos": "p", "series": "p", "s": "p", "p": "p",
}  # fmt: skip
_NUMBER_AT_THE_END = re.compile(r"(?P<run>.*?)(?P<number>\d+)", re.ASCII | re.DOTALL)
_WELL = re.compile(r"(?P<row>[A-Z]{1,2})(?P<column>\d{1,2})", re.IGNORECASE | re.ASCII)


def well_number(well: str) -> int | None:
    """Return the number of a well of a plate, row by row; ``None`` for other text.

    Examples
    --------
    >>> well_number("A01"), well_number("B03"), well_number("AF48"), well_number("A49")
    (0, 50, 1535, None)
    """
    match = _WELL.fullmatch(well)
    if match is None or not 1 <= int(match["column"]) <= _WELLS_ACROSS:
        return None
    row = 0
    for letter in match["row"].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    return (row - 1) * _WELLS_ACROSS + int(match["column"]) - 1


def metaxpress(parts: Sequence[str]) -> PlaneName | None:
    """Return what a file of ``TimePoint_N/ZStep_M``, or of ``ZStep_M``, is.

    Examples
    --------
    >>> metaxpress(["TimePoint_2", "ZStep_3", "plate_B03_s2_w1.TIF"])
    PlaneName(run='plate', stack_index=StackIndex(position=50001, time=1, channel=0), z=3, \
position_name='B03 s2')
    >>> metaxpress(["ZStep_1", "plate_B03_s2_w1_thumb.TIF"]) is None
    True
    """
    *folders, name = parts
    step = _Z_STEP.fullmatch(folders[-1]) if folders else None
    time = _TIME_POINT.fullmatch(folders[0]) if len(folders) == 2 else None
    match = _METAXPRESS.fullmatch(name)
    if step is None or match is None or (len(folders) == 2 and time is None):
        return None
    if "_thumb" in name.lower():
        return None
    well = match["well"] or ""
    position = _field(well, match["site"]) if well else _from_one(match["site"])
    if position is None:
        return None
    label = " ".join(part for part in (well, match["site"] and f"s{int(match['site'])}") if part)
    index = StackIndex(position, _from_one(time[1] if time else None), _from_one(match["w"]))
    return PlaneName(match["run"], index, int(step[1]), label)


def yokogawa(parts: Sequence[str]) -> PlaneName | None:
    """Return what a file of a CellVoyager is; its number of actions is part of the channel.

    Examples
    --------
    >>> yokogawa(["plate_B03_T0001F002L01A01Z05C02.tif"])
    PlaneName(run='plate', stack_index=StackIndex(position=50001, time=0, channel=1), z=5, \
position_name='B03 F002')
    """
    match = _YOKOGAWA.fullmatch(parts[0]) if len(parts) == 1 else None
    position = None if match is None else _field(match["well"], match["field"])
    if match is None or position is None:
        return None
    # Time lines record the same wells at times of their own, and actions the same channel again.
    channel = _from_one(match["c"])
    channel += 100 * (_from_one(match["action"]) + 10 * _from_one(match["line"]))
    index = StackIndex(position, _from_one(match["t"]), channel)
    label = f"{match['well']} F{match['field']}"
    return PlaneName(match["run"], index, int(match["z"]), label)


def bruker(parts: Sequence[str]) -> PlaneName | None:
    """Return what a file of Prairie View is: the last number is the plane, the cycle the time.

    Examples
    --------
    >>> bruker(["cell-001_Cycle00002_Ch1_000005.ome.tif"])
    PlaneName(run='cell-001', stack_index=StackIndex(position=0, time=1, channel=0), z=5, \
position_name='')
    """
    match = _BRUKER.fullmatch(parts[0]) if len(parts) == 1 else None
    if match is None:
        return None
    index = StackIndex(0, _from_one(match["t"]), _from_one(match["c"]))
    return PlaneName(match["run"], index, int(match["z"]))


def metamorph(parts: Sequence[str]) -> PlaneName | None:
    """Return what a file of MetaMorph is whose wavelength has a name behind its number.

    Examples
    --------
    >>> metamorph(["exp_w2488_s1_t1_z3.tif"])
    PlaneName(run='exp', stack_index=StackIndex(position=1, time=1, channel=2), z=3, \
position_name='')
    >>> metamorph(["exp_w1Conf 488_z3.tif"]).stack_index.channel, metamorph(["exp_w24_z3.tif"])
    (1, None)
    """
    match = _METAMORPH.fullmatch(parts[0]) if len(parts) == 1 else None
    found = _numbers(match["tokens"]) if match else None
    return _plane(match["run"], {**found, "c": int(match["w"])}) if match and found else None


def numbered(parts: Sequence[str]) -> PlaneName | None:
    """Return what a file is whose name ends in letters with numbers, among them z; as numbered.

    Where no number says the position, one at the end of the run's name does.

    Examples
    --------
    >>> numbered(["cell_z000_c001.tif"])
    PlaneName(run='cell', stack_index=StackIndex(position=0, time=0, channel=1), z=0, \
position_name='')
    >>> numbered(["day 2_Series003_t01_z07_ch00.tif"])
    PlaneName(run='day 2', stack_index=StackIndex(position=3, time=1, channel=0), z=7, \
position_name='')
    >>> numbered(["cell_t001.tif"]) is None
    True
    """
    match = _NUMBERED.fullmatch(parts[0]) if len(parts) == 1 else None
    found = _numbers(match["tokens"]) if match else None
    return _plane(match["run"], found) if match and found else None


def of_pattern(pattern: str) -> Callable[[Sequence[str]], PlaneName | None]:
    """Return what says which plane a file is by the setting ``files.plane_pattern``.

    Examples
    --------
    >>> name_of = of_pattern(r"(?P<run>.+)-(?P<p>[A-H]\\d\\d)-(?P<z>\\d+)\\.tif")
    >>> name_of(["x-B03-17.tif"])
    PlaneName(run='x', stack_index=StackIndex(position=50, time=0, channel=0), z=17, \
position_name='B03')
    """
    compiled = compiled_plane_pattern(pattern)

    def plane_name(parts: Sequence[str]) -> PlaneName | None:
        match = compiled.fullmatch(parts[0]) if len(parts) == 1 else None
        if match is None:
            return None
        groups = {name: value for name, value in match.groupdict().items() if value is not None}
        run, label = groups.pop("run", ""), ""
        if (well := well_number(groups.get("p", ""))) is not None:
            label, groups["p"] = groups["p"], str(well)
        if not all(value.isdecimal() and len(value) <= 9 for value in groups.values()):
            return None  # neither numbers nor a well
        named = _plane(run, {name: int(value) for name, value in groups.items()})
        return named and named._replace(position_name=label)

    return plane_name


NAMINGS: Mapping[str, Callable[[Sequence[str]], PlaneName | None]] = {
    "MetaXpress": metaxpress,
    "Yokogawa": yokogawa,
    "Bruker": bruker,
    "MetaMorph": metamorph,
    "numbered names": numbered,
}
"""By the program; each takes the parts of a path within the run's folder. The first that knows a
name has it."""


def _field(well: str, field: str | None) -> int | None:
    number = well_number(well)
    return None if number is None else number * MOST_FIELDS + _from_one(field)


def _numbers(tokens: str) -> dict[str, int] | None:
    """Return what letters with numbers say, ``None`` where two numbers stand for the same."""
    found: dict[str, int] = {}
    for letters, digits in _TOKEN.findall(tokens):
        if found.setdefault(_MEANS[letters.lower()], int(digits)) != int(digits):
            return None
    return found


def _plane(run: str, found: Mapping[str, int]) -> PlaneName | None:
    if "z" not in found:
        return None
    position = found.get("p")
    if position is None:
        position = 0
        at_the_end = _NUMBER_AT_THE_END.fullmatch(run)
        if at_the_end and len(at_the_end["number"]) <= _POSITION_DIGITS:
            run, position = at_the_end["run"], int(at_the_end["number"])
    return PlaneName(run, StackIndex(position, found.get("t", 0), found.get("c", 0)), found["z"])


def _from_one(digits: str | None) -> int:
    """Return the index that a number which counts from 1 stands for; none given is the first."""
    return max(0, int(digits) - 1) if digits else 0
