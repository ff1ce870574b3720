"""What a script said it would record, kept beside the results of its acquisition.

pycromanager writes nowhere how many planes a stack is to have. A script knows it from its events;
written down here, it reaches every process that restores the acquisition, now or next week. The
file only grows, by a line for a few stacks: whoever writes it shares an interpreter with the
acquisition, and may never keep that to itself for longer than a moment.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from live_restore.errors import OutputError, StackUnreadableError
from live_restore.files import disk
from live_restore.files.naming import results_of_acquisition
from live_restore.files.publish import disk_errors, make_folder
from live_restore.files.reading import append_regular, read_regular
from live_restore.formats.acquisition_format import Planned
from live_restore.formats.axes import AxisLabels
from live_restore.stack import Fingerprint, StackIndex

STACKS_PER_LINE = 200
"""One line is written in about a millisecond, and no other thread may get its turn meanwhile."""

_NAME = ".live-restore-plan.jsonl"
_MAX_BYTES = 16 * 2**20
"""A stack takes about 12 bytes: more than a million of them."""
_MAX_LINES = 500_000

_Index = Annotated[int, Field(ge=0, lt=2**31)]
_Z = Annotated[int, Field(gt=-(2**31), lt=2**31)]


class _Line(BaseModel):
    """A line of the file: positions, times and channels of stacks, and the z that they share."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    z: list[_Z]
    stacks: list[tuple[_Index, _Index, _Index]]


@dataclass(frozen=True)
class ScriptPlan:
    """The planes of each stack, as the events of a script named them.

    Parameters
    ----------
    z_of
        z indices of each stack, ascending.
    """

    z_of: Mapping[StackIndex, tuple[int, ...]] = field(default_factory=dict)

    def planes(self, stack_index: StackIndex) -> Planned | None:
        """Return the planes of a stack, ``None`` where the script did not name it."""
        z = self.z_of.get(stack_index)
        if z is None:
            return None
        # A single plane may lie anywhere, and z may be counted from a middle plane.
        return Planned(len(z), anywhere=len(z) == 1 or z != tuple(range(len(z))))

    def stacks(self) -> int | None:
        """Return how many stacks the script has named so far."""
        return len(self.z_of)

    def volumes(self) -> int:
        """Return how many of them have more than one plane."""
        return sum(len(z) > 1 for z in self.z_of.values())


class PlannedAxes:
    """Collects the axes of events, from any thread.

    Channels, times and positions are numbered in the order of the events, as the reader of the
    files numbers them in the order of the images: the engine keeps that order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels = AxisLabels()
        self._z_of: dict[StackIndex, set[int]] = {}
        self._loose: set[StackIndex] = set()
        # Settled and not yet taken; a dict, for its order.
        self._new: dict[StackIndex, None] = {}

    def add(self, axes: Mapping[str, object], *, loose: bool) -> StackIndex:
        """Take one planned plane.

        ``loose``: further planes of its stack may be named later; until :meth:`settle` the plan
        does not mention it, as a plan that names too few planes would cut a stack short.

        Raises
        ------
        live_restore.formats.axes.AxisError
            Axes that no image can have.
        """
        plain = {k: v if isinstance(v, str) else int(v) for k, v in axes.items()}  # type: ignore[call-overload]
        with self._lock:
            stack_index, z = self._labels.stack_index(plain)
            self._z_of.setdefault(stack_index, set()).add(z)
            if loose:
                self._loose.add(stack_index)
                self._new.pop(stack_index, None)
            elif stack_index not in self._loose:
                self._new[stack_index] = None
        return stack_index

    def settle(self, stack_indices: Iterable[StackIndex]) -> None:
        """Record that these stacks have been named with all their planes."""
        for stack_index in stack_indices:
            with self._lock:
                if stack_index in self._loose:
                    self._loose.discard(stack_index)
                    self._new[stack_index] = None

    def take(self, most: int = STACKS_PER_LINE) -> dict[StackIndex, tuple[int, ...]]:
        """Return stacks that have been settled since the last call, in the order of the events.

        A stack that has got further planes since it was taken is given again.
        """
        with self._lock:
            stack_indices = list(islice(self._new, most))
            for stack_index in stack_indices:
                del self._new[stack_index]
            return {
                stack_index: tuple(sorted(self._z_of[stack_index])) for stack_index in stack_indices
            }


def plan_path(acquisition: Path) -> Path:
    """Return where the plan of an acquisition folder lies: with its results, never inside it."""
    return results_of_acquisition(acquisition) / _NAME


def extend_plan(acquisition: Path, z_of: Mapping[StackIndex, tuple[int, ...]]) -> None:
    """Record the planes of further stacks of an acquisition folder; the last line on a stack holds.

    Raises
    ------
    OutputError
        The disk refused.
    """
    by_z: dict[tuple[int, ...], list[tuple[int, int, int]]] = {}
    for stack_index, z in z_of.items():
        by_z.setdefault(z, []).append(stack_index)
    lines = [_Line(z=list(z), stacks=stacks) for z, stacks in by_z.items()]
    text = "".join(f"{line.model_dump_json()}\n" for line in lines)
    path = plan_path(acquisition)
    with disk_errors(path):
        make_folder(path.parent)
        with append_regular(path) as stream:
            at = stream.seek(0, os.SEEK_END)
            try:
                if stream.write(text.encode()) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                stream.truncate(at)  # no further line may follow half a one
                raise
        disk.current.sync(path)


def remove_plan(acquisition: Path) -> None:
    """Remove the plan of an acquisition folder: of an earlier one of that name, or no longer true.

    Raises
    ------
    OutputError
        The disk refused.
    """
    try:
        plan_path(acquisition).unlink(missing_ok=True)
    except NotADirectoryError:
        return  # somebody's file has the name of the results' folder
    except OSError as error:
        raise OutputError(
            f"cannot be removed ({error.strerror})", plan_path(acquisition), "remove it by hand"
        ) from error


class PlanReader:
    """The plan that a script left for an acquisition folder, as far as it is written.

    Parameters
    ----------
    acquisition
        The folder.
    """

    def __init__(self, acquisition: Path) -> None:
        self._path = plan_path(acquisition)
        self._fingerprint: Fingerprint | None = None
        self._plan: ScriptPlan | None = None

    def read(self) -> ScriptPlan | None:
        """Return the plan as it is now, ``None`` where there is none.

        Raises
        ------
        StackUnreadableError
            There is one, and it is damaged.
        """
        try:
            fingerprint = Fingerprint.of(self._path.stat())
            if fingerprint != self._fingerprint:
                self._plan = _parse(self._path)
                self._fingerprint = fingerprint
        except (FileNotFoundError, NotADirectoryError):
            self._fingerprint = self._plan = None
        except OSError as error:
            raise StackUnreadableError(
                f"cannot be read ({error.strerror or error})", self._path, "check the disk"
            ) from error
        return self._plan


def _parse(path: Path) -> ScriptPlan:
    text = read_regular(path, _MAX_BYTES)
    # What follows the last line break is being written, or was when the script died; after a power
    # failure it may be zeros.
    lines = text.partition(b"\0")[0].split(b"\n", _MAX_LINES)[:-1]
    if len(lines) == _MAX_LINES:
        raise StackUnreadableError("is no plan of an acquisition", path, "delete it, and try again")
    z_of: dict[StackIndex, tuple[int, ...]] = {}
    for line in lines:
        try:
            found = _Line.model_validate_json(line)
            z = tuple(found.z)
            z_of.update((StackIndex(*stack), z) for stack in found.stacks)
        except (ValidationError, TypeError) as error:
            raise StackUnreadableError(
                "is no plan of an acquisition", path, "delete it, and try again"
            ) from error
    return ScriptPlan(z_of)
