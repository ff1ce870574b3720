"""Which planes of which stack are there: the layout of a TIFF file against what was found. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from live_restore.errors import StackUnreadableError
from live_restore.formats.file_format import StackPlanes, StacksFound
from live_restore.formats.tiff.blank import ABSENT, BLANK, DATA
from live_restore.stack import FileStacks, StackIndex


def stacks_found(
    file_stacks: FileStacks,
    planes: NDArray[np.int64],
    states: bytearray,
    damage: Mapping[int, StackUnreadableError],
    *,
    last_is_open: bool,
    zeros_are_data: bool = False,
) -> StacksFound:
    """Sort the stacks of a file by whether they are whole.

    Parameters
    ----------
    file_stacks
        What the file declares.
    planes
        (positions, times, channels, Z), the page of each plane, -1 where nothing leads to it, or
        beyond the depth of a position.
    states
        What is known of each page; see ``blank.py``.
    damage
        What is wrong with a page.
    last_is_open
        Whether the last plane that holds data may still be being filled.
    zeros_are_data
        See :class:`StacksFound`.

    Examples
    --------
    Three stacks of two planes, of which four and a half planes are there:

    >>> from pathlib import Path
    >>> from live_restore.stack import Fingerprint
    >>> three = FileStacks(Path("a.tif"), Fingerprint(9, 9), 1, 3, 1, (2, 8, 8), np.dtype("u1"))
    >>> planes = np.arange(6).reshape(1, 3, 1, 2)
    >>> states = bytearray([DATA, DATA, DATA, BLANK, DATA])
    >>> found = stacks_found(three, planes, states, {}, last_is_open=False)
    >>> [stack.time for stack in found.whole]
    [0]
    >>> for stack, there in found.others.items():
    ...     print(stack.time, there.present, there.blank, there.passed)
    1 (0, 1) (1,) True
    2 (0,) () False
    """
    known = np.append(np.frombuffer(bytes(states), np.uint8), np.uint8(ABSENT))
    there = known[np.where(planes < len(states), planes, -1)]
    last = states.rfind(DATA)
    passed = planes.max(axis=3) < last
    depths = [file_stacks.shape_of(position)[0] for position in range(file_stacks.positions)]
    beyond = np.arange(planes.shape[3]) >= np.reshape(depths, (-1, 1, 1, 1))
    whole = ((there == DATA) | beyond).all(axis=3)
    if last_is_open:
        whole &= ~(planes == last).any(axis=3)
    broken = np.isin(planes, list(damage)) if damage else np.zeros(planes.shape, bool)
    begun = (there == DATA).any(axis=3) | ((there == BLANK).any(axis=3) & passed)
    others = {}
    for where in np.argwhere(~whole & (begun | broken.any(axis=3))).tolist():
        index = StackIndex(*where)
        of_stack = there[index]
        wrong = planes[index][broken[index]]
        others[index] = StackPlanes(
            depths[index.position],
            tuple(np.flatnonzero(of_stack != ABSENT).tolist()),
            tuple(np.flatnonzero(of_stack == BLANK).tolist()),
            bool(passed[index]),
            damage[int(wrong[0])].what if wrong.size else "",
        )
    return StacksFound(
        file_stacks,
        tuple(StackIndex(*where) for where in np.argwhere(whole).tolist()),
        others,
        zeros_are_data,
    )
