"""What a format of acquisition folders has to keep; see ``formats.py``."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from live_restore.errors import StackChangedError, StackError
from live_restore.formats.acquisition_format import (
    AcquisitionFormat,
    AcquisitionState,
    Follower,
    Stage,
)
from live_restore.stack import StackIndex
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
class AcquisitionSample:
    """One acquisition folder and what must be read from it.

    Parameters
    ----------
    name
        Of the folder.
    grow
        Fills the folder, which is there and empty, as a microscope does, and yields each time that
        somebody might look; when it ends, the acquisition is finished.
    truth
        What it holds: (Z, Y, X) of each stack, no plane of it all zero.
    ended
        What the format then says: ``True``, or ``None`` where it has no end marker.
    declared
        Whether anything says how many planes a stack has; where nothing does, one that ends early
        and is over counts as whole: all planes that are there.
    """

    name: str
    grow: Callable[[Path], Iterator[None]]
    truth: Mapping[StackIndex, NDArray[Any]]
    ended: bool | None = True
    declared: bool = True

    def write(self, folder: Path) -> None:
        """Write the finished acquisition."""
        folder.mkdir(parents=True)
        for _ in self.grow(folder):
            pass


class AcquisitionFormatCompliance(Compliance):
    """What an :class:`~live_restore.formats.acquisition_format.AcquisitionFormat` has to keep."""

    @abstractmethod
    def make_format(self) -> AcquisitionFormat:
        """Return the format; asked again whenever a fresh one is wanted."""

    @abstractmethod
    def samples(self) -> Sequence[AcquisitionSample]:
        """Return acquisitions of every kind that the format knows."""

    def _recognised(self, folder: Path) -> bool:
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return self.make_format().recognises(folder, names)

    def _check(
        self,
        follower: Follower,
        state: AcquisitionState,
        sample: AcquisitionSample,
        already: set[StackIndex],
        *,
        over: bool = False,
    ) -> None:
        """Compare what is complete, and was not ``already``, with what was written."""
        for index, evidence in state.stacks.items():
            assert index in sample.truth, f"{index} was never written"
            assert evidence.reason
            assert not set(evidence.present) & set(evidence.blank)
            if not evidence.complete or index in already:
                continue
            volume, truth = follower.read(index), sample.truth[index]
            if over and not sample.declared:
                truth = truth[: len(volume)]
            np.testing.assert_array_equal(volume, truth, strict=True)
            check_volume(volume, truth.shape, state.info.dtype)
            assert state.info.shape_yx == volume.shape[1:]
            already.add(index)

    def test_it_recognises_a_folder(self, tmp_path: Path, sample: AcquisitionSample) -> None:
        folder = tmp_path / sample.name
        assert not self._recognised(folder)
        assert not self.make_format().recognises(folder, ["a" * 255, "\udcff", "notes.txt"])
        sample.write(folder)
        with untouched(tmp_path):
            assert self._recognised(folder) is True

    def test_a_finished_acquisition_reads_as_it_was_written(
        self, tmp_path: Path, sample: AcquisitionSample
    ) -> None:
        folder = tmp_path / sample.name
        sample.write(folder)
        kind = self.make_format()
        with untouched(tmp_path):
            follower = kind.follow(folder)
            state = follower.poll()
            assert not held(folder), "poll keeps files open"
            assert state.ended is sample.ended
            state = follower.poll(over=True)
            read: set[StackIndex] = set()
            self._check(follower, state, sample, read)
        assert read == set(sample.truth), "not every stack is complete"
        assert not state.problems
        assert (state.info.name, state.info.format) == (sample.name, kind.name)

    def test_it_is_followed_as_it_grows(self, tmp_path: Path, sample: AcquisitionSample) -> None:
        """A follower that was there all along, and a fresh one at every step, say the same."""
        folder = tmp_path / sample.name
        folder.mkdir()
        along: Follower | None = None
        read: set[StackIndex] = set()
        complete: set[StackIndex] = set()
        for _ in sample.grow(folder):
            if along is None and not self._recognised(folder):
                continue
            along = along or self.make_format().follow(folder)
            state = along.poll()
            self._check(along, state, sample, read)
            fresh = self.make_format().follow(folder).poll()
            assert (dict(fresh.stacks), fresh.ended) == (dict(state.stacks), state.ended)
            now = {index for index, evidence in state.stacks.items() if evidence.complete}
            assert complete <= now, "a stack that was complete is not any more"
            complete = now
            assert not held(folder)
        assert along is not None, "it was never recognised"
        along.poll()
        self._check(along, along.poll(over=True), sample, read)
        assert read == set(sample.truth)

    def test_it_may_end_at_any_moment(self, tmp_path: Path, sample: AcquisitionSample) -> None:
        """What is missing when the acquisition is over is partial, and never complete."""
        folder = tmp_path / sample.name
        folder.mkdir()
        for _ in sample.grow(folder):
            if not self._recognised(folder):
                continue
            follower = self.make_format().follow(folder)
            state = follower.poll(over=True)
            self._check(follower, state, sample, set(), over=True)
            stages = {evidence.stage for evidence in state.stacks.values()}
            assert stages <= {Stage.COMPLETE, Stage.PARTIAL}

    def test_files_that_are_cut_or_reserved(
        self, tmp_path: Path, sample: AcquisitionSample
    ) -> None:
        """Whatever is missing of one file: no wrong pixels, and no plane of nothing but zeros."""
        for fill in (False, True):
            for folder, path, whole in self._copies(tmp_path, sample):
                for cut in cuts(len(whole), CUTS // 3):
                    data = whole[:cut]
                    path.write_bytes(data.ljust(len(whole), b"\0") if fill else data)
                    self._check_damaged(folder, sample, exact=not fill)

    def test_damage_ends_in_our_errors(self, tmp_path: Path, sample: AcquisitionSample) -> None:
        with bounded(mib=256, seconds=20):
            for folder, path, whole in self._copies(tmp_path, sample):
                seed = f"{sample.name} {path.name}"
                for hurt in mutants(whole, seed, MUTANTS // 3):
                    path.write_bytes(hurt)
                    self._check_damaged(folder, sample, exact=False)

    def _copies(
        self, tmp_path: Path, sample: AcquisitionSample
    ) -> Iterator[tuple[Path, Path, bytes]]:
        """Yield a finished acquisition, one file of it and what that holds; afterwards mend it."""
        with tempfile.TemporaryDirectory(dir=tmp_path) as temporary:
            folder = Path(temporary) / sample.name
            sample.write(folder)
            for path in sorted(each for each in folder.rglob("*") if each.is_file()):
                whole = path.read_bytes()
                yield folder, path, whole
                path.write_bytes(whole)

    def _check_damaged(self, folder: Path, sample: AcquisitionSample, *, exact: bool) -> None:
        """Do all that a daemon does; ``exact``: bytes are missing, and none is wrong."""
        with only_our_errors():
            assert isinstance(self._recognised(folder), bool)
            follower = self.make_format().follow(folder)
            state = follower.poll()
            assert all(line and "\n" not in line for line in state.problems)
            for index, evidence in state.stacks.items():
                if not evidence.complete:
                    continue
                with only_our_errors():
                    volume = follower.read(index)
                    assert volume.any((-2, -1)).all(), "a plane of nothing but zeros"
                    if exact:
                        np.testing.assert_array_equal(volume, sample.truth[index])

    def test_a_stack_that_is_not_there(self, tmp_path: Path, sample: AcquisitionSample) -> None:
        folder = tmp_path / sample.name
        sample.write(folder)
        follower = self.make_format().follow(folder)
        follower.poll()
        with pytest.raises(StackError):
            follower.read(StackIndex(900, 900, 90))

    def test_a_folder_that_vanishes(self, tmp_path: Path, sample: AcquisitionSample) -> None:
        folder = tmp_path / sample.name
        sample.write(folder)
        follower = self.make_format().follow(folder)
        index = next(iter(follower.poll(over=True).stacks))
        shutil.rmtree(folder)
        with pytest.raises(StackError):
            follower.read(index)
        for each in (follower, self.make_format().follow(folder)):
            with pytest.raises(StackChangedError):
                each.poll()

    def test_links_and_pipes_in_the_folder(self, tmp_path: Path, sample: AcquisitionSample) -> None:
        """Whoever opens a pipe waits for ever, and a link leads anywhere."""
        folder, other = tmp_path / sample.name, tmp_path / "other"
        sample.write(folder)
        sample.write(other)
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            whole = path.read_bytes()
            path.unlink()
            path.symlink_to(other / path.relative_to(folder))
            with openings() as opened:
                self._check_damaged(folder, sample, exact=False)
            assert not [name for name, _ in opened if Path(name).is_relative_to(other)]
            path.unlink()
            if hasattr(os, "mkfifo"):
                os.mkfifo(path)
                self._check_damaged(folder, sample, exact=False)
                path.unlink()
            path.write_bytes(whole)
