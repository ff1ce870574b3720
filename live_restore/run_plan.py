"""What a script said it would record, kept beside the results of its run.

pycromanager writes nowhere how many planes a stack is to have. A script knows it from its events;
written down here, it reaches every process that restores the run, now or next week.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from live_restore.errors import OutputError, StackUnreadableError
from live_restore.formats.dataset import Place, Planned
from live_restore.formats.ndtiff_axes import AxisLabels
from live_restore.outputs.publish import publish_text
from live_restore.stack import Fingerprint
from live_restore.untrusted_file import read_regular

_NAME = ".live-restore-plan.json"
_MAX_BYTES = 16 * 2**20
"""A stack takes about 16 bytes: a million of them."""

_Index = Annotated[int, Field(ge=0, lt=2**31)]
_Z = Annotated[int, Field(gt=-(2**31), lt=2**31)]


class _PlanFile(BaseModel):
    """The file: runs of z are listed once, and each stack names the run that it is to have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    z_runs: tuple[tuple[_Z, ...], ...]
    stacks: tuple[tuple[_Index, _Index, _Index, _Index], ...]


@dataclass(frozen=True)
class ScriptPlan:
    """The planes of each stack, as the events of a script named them.

    Parameters
    ----------
    z_of
        z indices of each stack, ascending.
    """

    z_of: Mapping[Place, tuple[int, ...]] = field(default_factory=dict)

    def planes(self, place: Place) -> Planned | None:
        """Return the planes of a stack, ``None`` where the script has not said."""
        z = self.z_of.get(place)
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
        self._z_of: dict[Place, set[int]] = {}
        self._loose: set[Place] = set()
        self.settled = 0
        """Grows whenever :meth:`plan` has more to say."""

    def add(self, axes: Mapping[str, object], *, loose: bool) -> Place:
        """Take one planned plane.

        ``loose``: further planes of its stack may be named later; until :meth:`settle` the plan
        keeps silent about it, as a plan that names too few planes would cut a stack short.

        Raises
        ------
        live_restore.formats.ndtiff_axes.AxisError
            Axes that no image can have.
        """
        plain = {k: v if isinstance(v, str) else int(v) for k, v in axes.items()}  # type: ignore[call-overload]
        with self._lock:
            place, z = self._labels.place(plain)
            self._z_of.setdefault(place, set()).add(z)
            if loose:
                self._loose.add(place)
            else:
                self.settled += 1
        return place

    def settle(self, places: Iterable[Place]) -> None:
        """Say that these stacks have been named with all their planes."""
        with self._lock:
            self.settled += 1
            self._loose.difference_update(places)

    def plan(self) -> ScriptPlan:
        """Return what is settled."""
        with self._lock:
            known = {p: tuple(sorted(z)) for p, z in self._z_of.items() if p not in self._loose}
        return ScriptPlan(known)


def plan_path(dataset: Path) -> Path:
    """Return where the plan of a data set folder lies: with its results, never inside it."""
    return dataset.parent / f"{dataset.name}_restored" / _NAME


def write_plan(dataset: Path, plan: ScriptPlan) -> None:
    """Write down the plan of a data set folder, replacing an earlier one.

    Raises
    ------
    OutputError
        The disk refused.
    """
    runs: dict[tuple[int, ...], int] = {}
    stacks = tuple(
        (*place, runs.setdefault(z, len(runs))) for place, z in sorted(plan.z_of.items())
    )
    file = _PlanFile(z_runs=tuple(runs), stacks=stacks)
    publish_text(plan_path(dataset), file.model_dump_json())


def remove_plan(dataset: Path) -> None:
    """Remove the plan of a data set folder: of an earlier run of that name, or no longer true.

    Raises
    ------
    OutputError
        The disk refused.
    """
    try:
        plan_path(dataset).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be removed ({error.strerror})", plan_path(dataset), "remove it by hand"
        ) from error


class PlanReader:
    """The plan that a script left for a data set folder, read again only when it has changed.

    Parameters
    ----------
    dataset
        The folder.
    """

    def __init__(self, dataset: Path) -> None:
        self._path = plan_path(dataset)
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
            status = self._path.stat()
            fingerprint = Fingerprint(status.st_size, status.st_mtime_ns)
            if fingerprint != self._fingerprint:
                self._plan = _parse(self._path)
                self._fingerprint = fingerprint
        except FileNotFoundError:
            self._fingerprint = self._plan = None
        except OSError as error:
            raise StackUnreadableError(
                f"cannot be read ({error.strerror or error})", self._path, "check the disk"
            ) from error
        return self._plan


def _parse(path: Path) -> ScriptPlan:
    text = read_regular(path, _MAX_BYTES)
    try:
        file = _PlanFile.model_validate_json(text)
        z_of = {Place(p, t, c): file.z_runs[run] for p, t, c, run in file.stacks}
    except (ValidationError, IndexError) as error:
        raise StackUnreadableError(
            "is no plan of a run", path, "delete it, and try again"
        ) from error
    return ScriptPlan(z_of)
