"""Formats of other packages: found by their entry points, and kept from harming the others.

A plug-in is anybody's code. One that cannot be loaded is left out, and one that fails at work fails
that one file or folder; either is reported, and nothing else stops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackError,
    StackRefusedError,
    StackUnreadableError,
    one_line,
)
from live_restore.formats.acquisition_format import (
    AcquisitionFormat,
    AcquisitionInfo,
    AcquisitionPlan,
    AcquisitionState,
    Follower,
    StackEvidence,
)
from live_restore.formats.file_format import Arriving, Complete, FileFormat, PartOf, StackReader
from live_restore.stack import FileStacks, StackIndex, Volume

FILE_FORMATS = "live_restore.file_formats"
ACQUISITION_FORMATS = "live_restore.acquisition_formats"

Warn = Callable[[str], None]


def file_plug_ins(taken: Collection[str], warn: Warn) -> tuple[FileFormat, ...]:
    """Return the formats of the group ``live_restore.file_formats``, sorted by name.

    Parameters
    ----------
    taken
        Names that a plug-in may not have.
    warn
        Takes one line about each that is left out, and about each that fails to recognise.
    """
    made: list[FileFormat] = []
    for point in _points(FILE_FORMATS, taken, warn):
        inner = _made(point, ("recognises", "inspect", "open"), warn)
        if inner is not None:
            made.append(_GuardedFileFormat(inner, warn))
    return tuple(made)


def acquisition_plug_ins(taken: Collection[str], warn: Warn) -> tuple[AcquisitionFormat, ...]:
    """Return the formats of the group ``live_restore.acquisition_formats``, sorted by name.

    Parameters are those of :func:`file_plug_ins`.
    """
    made: list[AcquisitionFormat] = []
    for point in _points(ACQUISITION_FORMATS, taken, warn):
        inner = _made(point, ("recognises", "follow"), warn)
        if inner is not None:
            made.append(_GuardedAcquisitionFormat(inner, warn))
    return tuple(made)


@functools.cache
def installed() -> Mapping[str, Sequence[EntryPoint]]:
    """Return the entry points of both groups, sorted; looked for once, as it takes some 5 ms."""
    found = entry_points()
    return {
        group: sorted(found.select(group=group), key=lambda point: (point.name, point.value))
        for group in (FILE_FORMATS, ACQUISITION_FORMATS)
    }


def _points(group: str, taken: Collection[str], warn: Warn) -> Iterator[EntryPoint]:
    """Yield the entry points whose names are free."""
    names = set(taken)
    for point in installed()[group]:
        if point.name in names:
            warn(f"{_described(point)} is left out: there is a format of that name already")
            continue
        names.add(point.name)
        yield point


def _described(point: EntryPoint) -> str:
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return one_line(f'the format "{point.name}"{package} ({point.value})')


def _made(point: EntryPoint, methods: tuple[str, ...], warn: Warn) -> Any:
    """Return what a plug-in makes, ``None`` where it is no format."""
    try:
        made = point.load()()
        lacking = [name for name in methods if not callable(getattr(made, name, None))]
        name = getattr(made, "name", None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - anybody's code
        warn(f"{_described(point)} is left out: it cannot be loaded ({_what(error)})")
        return None
    if lacking:
        warn(f"{_described(point)} is left out: it lacks {', '.join(lacking)}")
    elif name != point.name:
        warn(f"{_described(point)} is left out: it calls itself {one_line(repr(name))[:80]}")
    else:
        return made
    return None


def _what(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}")[:300]


# What each question of the seams may be answered with; whoever asks is prepared for nothing else.
_NOT_NOW = (StackChangedError, StackBusyError, StackUnreadableError)
_NOTHING_TO_RESTORE = (*_NOT_NOW, StackRefusedError)


@contextmanager
def _failing(
    name: str, path: Path, may_raise: tuple[type[StackError], ...] = (StackError,)
) -> Iterator[None]:
    """Turn whatever a plug-in raises beyond what it may into an error about that file."""
    try:
        yield
    except may_raise:
        raise
    except Exception as error:
        raise StackUnreadableError(
            f'the format "{name}" failed ({_what(error)})',
            path,
            "report it to that plug-in's author, or uninstall it",
        ) from error


class _Recognising:
    """Asks a plug-in whose business a name is; one that fails is not asked again."""

    def __init__(self, name: str, warn: Warn) -> None:
        self._name, self._warn, self._failed = name, warn, False

    def ask(self, question: Callable[[], object]) -> bool:
        if self._failed:
            return False
        try:
            return bool(question())
        except Exception as error:  # noqa: BLE001 - anybody's code
            self._failed = True
            self._warn(
                f'the format "{self._name}" is out: it failed at recognising ({_what(error)})'
            )
            return False


class _GuardedFileFormat:
    """A :class:`FileFormat` of another package."""

    def __init__(self, inner: FileFormat, warn: Warn) -> None:
        self._inner = inner
        self.name = self._inner.name
        self._recognising = _Recognising(self.name, warn)

    def recognises(self, path: Path) -> bool:
        return self._recognising.ask(lambda: self._inner.recognises(path))

    def inspect(self, path: Path) -> Arriving | Complete | PartOf | None:
        with _failing(self.name, path, _NOTHING_TO_RESTORE):
            found = self._inner.inspect(path)
            if found is not None and not isinstance(found, Arriving | Complete | PartOf):
                raise TypeError(f"inspect returned {type(found).__name__}")
            return found

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[_GuardedReader]:
        # What the caller's block raises is the caller's.
        inner = ExitStack()
        with _failing(self.name, file_stacks.path):
            reader = inner.enter_context(self._inner.open(file_stacks))
        try:
            yield _GuardedReader(self.name, reader, file_stacks)
        finally:
            with _failing(self.name, file_stacks.path):
                inner.close()


class _GuardedReader:
    """A reader of another package; what it reads is of the shape and type that were announced."""

    def __init__(self, name: str, inner: StackReader, file_stacks: FileStacks) -> None:
        self._name, self._inner, self._file_stacks = name, inner, file_stacks

    def read(self, stack_index: StackIndex) -> Volume:
        stacks = self._file_stacks
        with _failing(self._name, stacks.path):
            volume = self._inner.read(stack_index)
            if not isinstance(volume, np.ndarray):
                raise TypeError(f"read returned {type(volume).__name__}")
            shape_zyx = stacks.shape_of(stack_index.position)
            if (volume.shape, volume.dtype) != (shape_zyx, stacks.dtype):
                raise ValueError(
                    f"read {volume.dtype} of {volume.shape}, "
                    f"announced {stacks.dtype} of {shape_zyx}"
                )
            return volume


class _GuardedAcquisitionFormat:
    """An :class:`AcquisitionFormat` of another package."""

    def __init__(self, inner: AcquisitionFormat, warn: Warn) -> None:
        self._inner = inner
        self.name = self._inner.name
        self._recognising = _Recognising(self.name, warn)

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        return self._recognising.ask(lambda: self._inner.recognises(folder, names))

    def goes_on(self, folder: Path, names: Collection[str]) -> bool:
        question = getattr(self._inner, "goes_on", self._inner.recognises)
        return self._recognising.ask(lambda: question(folder, names))

    def follow(self, folder: Path) -> _GuardedFollower:
        with _failing(self.name, folder, (StackUnreadableError,)):
            return _GuardedFollower(self.name, self._inner.follow(folder), folder)


class _GuardedFollower:
    """A follower of another package."""

    def __init__(self, name: str, inner: Follower, folder: Path) -> None:
        self._name, self._inner, self._folder = name, inner, folder
        self._state: AcquisitionState | None = None

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        with _failing(self._name, self._folder, _NOT_NOW):
            state = self._inner.poll(over=over, plan=plan)
            if not isinstance(state, AcquisitionState):
                raise TypeError(f"poll returned {type(state).__name__}")
            for key, evidence in state.stacks.items():
                if not (isinstance(key, StackIndex) and isinstance(evidence, StackEvidence)):
                    raise TypeError(f"poll returned {type(evidence).__name__} of {key!r}")
            if not isinstance(state.info, AcquisitionInfo):
                raise TypeError(f"poll returned {type(state.info).__name__} as information")
            self._state = state
            return state

    def read(self, stack_index: StackIndex) -> Volume:
        with _failing(self._name, self._folder):
            volume = self._inner.read(stack_index)
            if not isinstance(volume, np.ndarray) or volume.ndim != 3:
                raise TypeError("read returned no array of (Z, Y, X)")
            found = None if self._state is None else self._state.stacks.get(stack_index)
            if self._state is not None and found is not None:
                info = self._state.info
                announced = (len(found.present), *(info.shape_yx or ())), info.dtype
                if (volume.shape, volume.dtype) != announced:
                    raise ValueError(
                        f"read {volume.dtype} of {volume.shape}, "
                        f"announced {announced[1]} of {announced[0]}"
                    )
            return volume
