"""What a format of single files has to keep; see ``formats.py``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from live_restore.errors import StackChangedError, StackError, StackRefusedError
from live_restore.formats.file_format import (
    Arriving,
    Complete,
    FileFormat,
    GrowingFileFormat,
    PartOf,
)
from live_restore.testing.bounds import bounded
from live_restore.testing.compliance import (
    CUTS,
    MUTANTS,
    Compliance,
    check_volume,
    only_our_errors,
)
from live_restore.testing.damage import cuts, mutants
from live_restore.testing.untouched import held, openings, untouched


@dataclass(frozen=True)
class FileSample:
    """One file and what must be read from it.

    Parameters
    ----------
    name
        File name, with the ending by which the format recognises it.
    write
        Writes the finished file to a path.
    truth
        What it holds: (positions, times, channels, Z, Y, X), no plane of it all zero.
    grow
        Writes the same file as a microscope does, and yields each time that somebody might look;
        ``None``: it only arrives as a copy does, from its first byte to its last.
    """

    name: str
    write: Callable[[Path], None]
    truth: NDArray[Any]
    grow: Callable[[Path], Iterator[None]] | None = None


class FileFormatCompliance(Compliance):
    """What a :class:`~live_restore.formats.file_format.FileFormat` has to keep."""

    @abstractmethod
    def make_format(self) -> FileFormat:
        """Return the format; asked again whenever a fresh one is wanted."""

    @abstractmethod
    def samples(self) -> Sequence[FileSample]:
        """Return files of every kind that the format knows."""

    def _look(self, path: Path) -> tuple[Arriving | Complete | PartOf | None, NDArray[Any] | None]:
        """Inspect a file, and read all of it (positions, times, channels, Z, Y, X) if complete."""
        kind = self.make_format()
        found = kind.inspect(path)
        if not isinstance(found, Complete):
            return found, None
        stacks = found.file_stacks
        with kind.open(stacks) as reader:
            volumes = [reader.read(index) for index in stacks.indices()]
        for volume in volumes:
            check_volume(volume, stacks.shape_zyx, stacks.dtype)
        counts = (stacks.positions, stacks.times, stacks.channels)
        return found, np.array(volumes).reshape(*counts, *stacks.shape_zyx)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give each sample to each test, and those that grow to that of growing."""
        super().pytest_generate_tests(metafunc)
        if "growing" in metafunc.fixturenames:
            growing = [each for each in self.samples() if each.grow is not None]
            metafunc.parametrize("growing", growing, ids=[each.name for each in growing])

    def _check(self, path: Path, sample: FileSample) -> Arriving | Complete | PartOf | None:
        """Look at a file that is arriving: whatever is read from it is what was written."""
        found, read = self._look(path)
        if isinstance(found, Arriving):
            assert found.reason, "arriving, and no reason why"
            assert "\n" not in found.reason
        if isinstance(found, Complete) and read is not None:
            planes, truth = _planes(found, read, sample)
            np.testing.assert_array_equal(planes, truth, "complete with wrong pixels")
        return found

    def test_it_recognises_a_name_without_opening(self, tmp_path: Path, sample: FileSample) -> None:
        kind = self.make_format()
        with openings() as opened:
            assert kind.recognises(tmp_path / sample.name) is True  # although it is not there
            for other in ("", sample.name + ".part", "notes.txt", "a" * 255, "\udcff"):
                assert isinstance(kind.recognises(tmp_path / other), bool)
        assert not [name for name, _ in opened if Path(name).is_relative_to(tmp_path)]

    def test_a_finished_file_reads_as_it_was_written(
        self, tmp_path: Path, sample: FileSample
    ) -> None:
        sample.write(tmp_path / sample.name)
        found, read = self._look(tmp_path / sample.name)
        assert isinstance(found, Complete)
        assert read is not None
        assert not found.blank_planes
        assert not found.zero_tail
        np.testing.assert_array_equal(read, sample.truth, strict=True)

    def test_it_reads_only_and_keeps_nothing_open(self, tmp_path: Path, sample: FileSample) -> None:
        path = tmp_path / sample.name
        sample.write(path)
        path.chmod(0o444)
        kind = self.make_format()
        with untouched(tmp_path):
            found = kind.inspect(path)
            assert not held(tmp_path), "inspect keeps the file open"
            assert isinstance(found, Complete)
            with kind.open(found.file_stacks) as reader:
                reader.read(found.file_stacks.indices()[-1])
            with suppress(LookupError), kind.open(found.file_stacks):
                raise LookupError  # the caller's own mistake

    def test_a_copy_that_is_arriving(self, tmp_path: Path, sample: FileSample) -> None:
        path = tmp_path / sample.name
        sample.write(path)
        whole = path.read_bytes()
        for cut in cuts(len(whole), CUTS):
            path.write_bytes(whole[:cut])
            assert self._check(path, sample) is not None

    def test_a_copy_whose_space_was_reserved(self, tmp_path: Path, sample: FileSample) -> None:
        """Zeros where nothing has been written: such a plane is never taken for data.

        Except within the one plane that is just being written: half of it may look like an image.
        """
        path = tmp_path / sample.name
        sample.write(path)
        whole = path.read_bytes()
        for cut in cuts(len(whole), CUTS):
            path.write_bytes(whole[:cut].ljust(len(whole), b"\0"))
            with only_our_errors():
                found, read = self._look(path)
                if not isinstance(found, Complete) or read is None:
                    continue
                planes, truth = _planes(found, read, sample)
                holds_something = planes.any((-2, -1))
                zero = int((~holds_something).sum())
                assert zero == len(found.blank_planes), "planes of zeros that are not named"
                wrong = (planes != truth).any((-2, -1)) & holds_something
                assert wrong.sum() <= 1, "complete with wrong pixels"

    def test_a_file_that_grows(self, tmp_path: Path, growing: FileSample) -> None:
        path = tmp_path / growing.name
        assert growing.grow is not None
        for _ in growing.grow(path):
            # Undeclared, a first plane looks like a 2-D image: refused until it changes.
            with suppress(StackRefusedError):
                if path.exists():
                    self._check(path, growing)
        found = self._check(path, growing)
        assert isinstance(found, Complete)
        np.testing.assert_array_equal(self._look(path)[1], growing.truth)

    def test_stacks_of_a_file_that_grows(self, tmp_path: Path, growing: FileSample) -> None:
        """Which are called whole is read as it was written, and what was whole stays so."""
        kind, path, before = self.make_format(), tmp_path / growing.name, 0
        if not isinstance(kind, GrowingFileFormat):
            pytest.skip(f"{kind.name} gives no stack before its file is whole")
        assert growing.grow is not None
        for _ in growing.grow(path):
            found = None
            with suppress(StackRefusedError):
                found = kind.inspect_growing(path) if path.exists() else None
            if not isinstance(found, Arriving | Complete) or found.stacks is None:
                continue
            whole = found.stacks.whole
            assert len(whole) >= before, "a stack that was whole is no more"
            before = len(whole)
            with kind.open_growing(found.stacks.file_stacks) as reader:
                for index in whole:
                    np.testing.assert_array_equal(reader.read(index), growing.truth[tuple(index)])

    def test_damage_ends_in_our_errors(self, tmp_path: Path, sample: FileSample) -> None:
        path = tmp_path / sample.name
        sample.write(path)
        with bounded(mib=256, seconds=10):
            for hurt in mutants(path.read_bytes(), sample.name, MUTANTS):
                path.write_bytes(hurt)
                with only_our_errors():
                    self._look(path)
        for rubbish in (b"", b"\0" * 5000, b"shopping list\n", bytes(range(256)) * 20):
            path.write_bytes(rubbish)
            with only_our_errors():
                found, _ = self._look(path)
                assert not isinstance(found, Complete)

    def test_what_is_no_file(self, tmp_path: Path, sample: FileSample) -> None:
        path = tmp_path / sample.name
        path.mkdir()
        with pytest.raises(StackError):
            self.make_format().inspect(path)

    def test_a_file_that_vanishes_or_changes(self, tmp_path: Path, sample: FileSample) -> None:
        path = tmp_path / sample.name
        kind = self.make_format()
        with pytest.raises(StackChangedError):
            kind.inspect(path)
        sample.write(path)
        found = kind.inspect(path)
        assert isinstance(found, Complete)
        with path.open("ab") as stream:
            stream.write(b"more")
        with pytest.raises(StackChangedError), kind.open(found.file_stacks):
            pass
        path.unlink()
        with pytest.raises(StackChangedError), kind.open(found.file_stacks):
            pass


def _planes(
    found: Complete, read: NDArray[Any], sample: FileSample
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the planes that were read, and those that were written in their place.

    A file that does not declare its planes is all that is there: further ones may follow.
    """
    if found.declared:
        assert read.shape == sample.truth.shape, "complete with planes missing"
    planes = read.reshape(-1, *read.shape[-2:])
    return planes, sample.truth.reshape(-1, *sample.truth.shape[-2:])[: len(planes)]
