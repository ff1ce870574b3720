"""The compliance suites find what they are there for: formats with one defect each."""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from live_restore.errors import StackChangedError, StackIncompleteError, StackUnreadableError
from live_restore.formats.acquisition_format import AcquisitionFormat, AcquisitionState, Stage
from live_restore.formats.file_format import Arriving, Complete, FileFormat
from live_restore.formats.micromanager.image_stack_file import MmStackFollower, MmStackFormat
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume
from live_restore.testing.formats import (
    AcquisitionFormatCompliance,
    AcquisitionSample,
    FileFormatCompliance,
    FileSample,
)
from tests.support.growing import declared_at_the_end, grow_stack_file, planes_of_one_value
from tests.support.tiffs import BY_NAME

CASE = BY_NAME["ome_zyx"]
TIFF = FileSample(
    "a.ome.tif", lambda path: CASE.write(path, CASE.image()), CASE.truth(), declared_at_the_end
)
RUN = AcquisitionSample("run_1", grow_stack_file, planes_of_one_value())
NOWHERE = Fingerprint(0, 0)
kept: list[Any] = []


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    for each in kept:
        each.close()
    kept.clear()


class Whole(TiffFormat):
    """Takes for granted what is missing."""

    def inspect(self, path: Path) -> Arriving | Complete | None:
        found = super().inspect(path)
        if isinstance(found, Arriving):
            stacks = FileStacks(path, NOWHERE, 1, 1, 1, (5, 20, 24), np.dtype("u2"))
            return Complete(stacks, True)
        return found

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[Any]:
        if file_stacks.fingerprint != NOWHERE:
            with super().open(file_stacks) as reader:
                yield reader
            return

        class Zeros:
            def read(self, stack_index: StackIndex) -> Volume:  # noqa: ARG002
                return np.zeros(file_stacks.shape_zyx, file_stacks.dtype)

        yield Zeros()


class Blind(TiffFormat):
    """Sees no planes of zeros."""

    def inspect(self, path: Path) -> Arriving | Complete | None:
        found = super().inspect(path)
        return dataclasses.replace(found, blank_planes=()) if isinstance(found, Complete) else found


class Looking(TiffFormat):
    """Opens a file to recognise it."""

    def recognises(self, path: Path) -> bool:
        if path.name == TIFF.name:
            path.parent.joinpath("other").open("wb").close()
        return super().recognises(path)


class Opening(TiffFormat):
    """Opens a file in a way of its own, before it does the rest."""

    def __init__(self, how: Callable[[Path], object]) -> None:
        super().__init__()
        self.how = how

    def inspect(self, path: Path) -> Arriving | Complete | None:
        if path.is_file():
            self.how(path)
        return super().inspect(path)


def _for_writing(path: Path) -> None:
    path.open("r+b").close()


def _for_good(path: Path) -> None:
    kept.append(path.open("rb"))


def _mapped(path: Path) -> None:
    with path.open("rb") as stream:
        kept.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _touching(path: Path) -> None:
    path.touch()


class Swapped(TiffFormat):
    """Reads bytes as they come."""

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[Any]:
        with super().open(file_stacks) as reader:

            class Bytes:
                def read(self, stack_index: StackIndex) -> Volume:
                    return reader.read(stack_index).astype(">u2")

            yield Bytes()


class Raising(TiffFormat):
    """Raises what it meets."""

    def inspect(self, path: Path) -> Arriving | Complete | None:
        try:
            return super().inspect(path)
        except StackUnreadableError as error:
            raise ValueError("damaged") from error


class Forgiving(TiffFormat):
    """Has no word for a file that is not there."""

    def inspect(self, path: Path) -> Arriving | Complete | None:
        try:
            return super().inspect(path)
        except StackChangedError:
            return Arriving("it is not there")


class Silent(TiffFormat):
    """Gives no reason."""

    def inspect(self, path: Path) -> Arriving | Complete | None:
        found = super().inspect(path)
        return Arriving("") if isinstance(found, Arriving) else found


class FileSuite(FileFormatCompliance):
    def __init__(self, made: FileFormat) -> None:
        self.made = made

    def make_format(self) -> FileFormat:
        return self.made

    def samples(self) -> Sequence[FileSample]:
        return [TIFF]


FILE_DEFECTS: list[tuple[str, FileFormat]] = [
    ("test_it_recognises_a_name_without_opening", Looking()),
    ("test_a_finished_file_reads_as_it_was_written", Swapped()),
    ("test_it_reads_only_and_keeps_nothing_open", Opening(_for_writing)),
    ("test_it_reads_only_and_keeps_nothing_open", Opening(_for_good)),
    ("test_it_reads_only_and_keeps_nothing_open", Opening(_mapped)),
    ("test_it_reads_only_and_keeps_nothing_open", Opening(_touching)),
    ("test_a_copy_that_is_arriving", Whole()),
    ("test_a_copy_that_is_arriving", Silent()),
    ("test_a_copy_whose_space_was_reserved", Blind()),
    ("test_a_file_that_grows", Whole()),
    ("test_damage_ends_in_our_errors", Raising()),
    ("test_what_is_no_file", Raising()),
    ("test_a_file_that_vanishes_or_changes", Forgiving()),
]


@pytest.mark.parametrize(("test", "kind"), FILE_DEFECTS, ids=lambda x: getattr(x, "name", x))
def test_a_defect_of_a_file_format_is_found(tmp_path: Path, test: str, kind: FileFormat) -> None:
    sample = TIFF
    if isinstance(kind, Blind):
        # Only uncompressed planes can be reserved.
        case = BY_NAME["imagej_one_ifd"]
        sample = FileSample("a.tif", lambda path: case.write(path, case.image()), case.truth())
    run = getattr(FileSuite(kind), test)
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
        run(tmp_path, sample)


class Follower(MmStackFollower):
    """Follows as it should, but for one defect."""

    def __init__(self, folder: Path, defect: str) -> None:
        super().__init__(folder)
        self.defect, self.polls = defect, 0

    def poll(self, **options: Any) -> AcquisitionState:
        self.polls += 1
        if self.defect == "keeps open":
            kept.append(next(self._folder.glob("*.tif")).open("rb"))
        if self.defect == "writes":
            next(self._folder.glob("*.tif")).open("r+b").close()
        if self.defect == "raises":
            names = list(self._folder.glob("*.tif"))
            if names and names[0].read_bytes()[:1000].count(b"\0") > 900:
                raise ValueError("damaged")
        if self.defect == "forgives" and not self._folder.exists():
            return AcquisitionState(self._found._info)
        state = super().poll(**options)
        stacks = dict(state.stacks)
        for index, evidence in stacks.items():
            if self.defect == "too early" and evidence.stage is Stage.ARRIVING:
                stacks[index] = dataclasses.replace(evidence, stage=Stage.COMPLETE)
            if self.defect == "always whole" and evidence.stage is Stage.PARTIAL:
                stacks[index] = dataclasses.replace(evidence, stage=Stage.COMPLETE)
            if self.defect == "never over" and evidence.stage is Stage.PARTIAL:
                stacks[index] = dataclasses.replace(evidence, stage=Stage.ARRIVING)
            if self.defect == "remembers" and self.polls > 3:
                stacks[index] = dataclasses.replace(evidence, reason="seen before")
        if self.defect == "invents":
            stacks[StackIndex(7, 7, 7)] = next(iter(stacks.values()))
        return dataclasses.replace(state, stacks=MappingProxyType(stacks))

    def read(self, stack_index: StackIndex) -> Volume:
        if self.defect == "gives anything" and stack_index not in self._found._planes:
            return np.ones((3, 4, 8), np.uint16)
        volume = super().read(stack_index)
        return volume.astype(">u2") if self.defect == "swaps" else volume


class Defective(MmStackFormat):
    def __init__(self, defect: str) -> None:
        self.defect = defect

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        if self.defect == "recognises all":
            return True
        return super().recognises(folder, names)

    def follow(self, folder: Path) -> MmStackFollower:
        return Follower(folder, self.defect)


class AcquisitionSuite(AcquisitionFormatCompliance):
    def __init__(self, made: AcquisitionFormat) -> None:
        self.made = made

    def make_format(self) -> AcquisitionFormat:
        return self.made

    def samples(self) -> Sequence[AcquisitionSample]:
        return [RUN]


ACQUISITION_DEFECTS = [
    ("test_it_recognises_a_folder", "recognises all"),
    ("test_a_finished_acquisition_reads_as_it_was_written", "keeps open"),
    ("test_a_finished_acquisition_reads_as_it_was_written", "writes"),
    ("test_a_finished_acquisition_reads_as_it_was_written", "swaps"),
    ("test_a_finished_acquisition_reads_as_it_was_written", "invents"),
    ("test_it_is_followed_as_it_grows", "too early"),
    ("test_it_is_followed_as_it_grows", "remembers"),
    ("test_it_is_followed_as_it_grows", "keeps open"),
    ("test_it_may_end_at_any_moment", "never over"),
    ("test_it_may_end_at_any_moment", "always whole"),
    ("test_files_that_are_cut_or_reserved", "too early"),
    ("test_damage_ends_in_our_errors", "raises"),
    ("test_a_stack_that_is_not_there", "gives anything"),
    ("test_a_folder_that_vanishes", "forgives"),
]


@pytest.mark.parametrize(("test", "defect"), ACQUISITION_DEFECTS)
def test_a_defect_of_an_acquisition_format_is_found(tmp_path: Path, test: str, defect: str) -> None:
    run = getattr(AcquisitionSuite(Defective(defect)), test)
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError, StackIncompleteError)):
        run(tmp_path, RUN)


def test_without_a_defect_nothing_is_found(tmp_path: Path) -> None:
    """The doubles above, whole: what fails there fails of the defect."""
    for name in dict.fromkeys(name for name, _ in FILE_DEFECTS):
        (tmp_path / name).mkdir()
        getattr(FileSuite(TiffFormat()), name)(tmp_path / name, TIFF)
    for name in dict.fromkeys(name for name, _ in ACQUISITION_DEFECTS):
        (tmp_path / f"run {name}").mkdir()
        getattr(AcquisitionSuite(Defective("none")), name)(tmp_path / f"run {name}", RUN)
