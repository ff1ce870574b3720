"""The stacks of a file, as a job: those that are whole give one result, which may grow."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from live_restore.engine.job import (
    RawStack,
    Remainder,
    ResultPlan,
    channels_together,
    planned,
    require_a_model,
)
from live_restore.engine.raw_folder import RawFolder, not_looked_at
from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackError,
    StackIncompleteError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.formats.file_format import (
    Arriving,
    Complete,
    FileFormat,
    GrowingFileFormat,
    PartialStackReader,
    PartOf,
    StackReader,
)
from live_restore.formats.table import format_for
from live_restore.inference.model_set import ModelSet
from live_restore.journal.states import State
from live_restore.outputs.output import Growth, Publication, ResultRequest
from live_restore.outputs.provenance import EarlierReport, earlier_report, is_current, is_of_file
from live_restore.outputs.table import grown_stacks, output_of_files
from live_restore.settings.model import FilesSettings, Settings
from live_restore.sources.completeness import StacksJudged, blank_reason, judge_stacks
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume, checksum_of

_OF_ONE_STACK = (StackUnreadableError, StackRefusedError, StackIncompleteError)
"""What is wrong with one stack, and says nothing about the others."""


class FileJob:
    """The stacks of a file that can be restored now.

    Parameters
    ----------
    file_stacks
        What the file declares.
    format
        How to read it.
    raw_folder
        Its folder.
    judged
        Which stacks are ready, and which never will be.
    certain
        ``False`` where only quiet tells that nobody is still writing to it: the file does not say
        how many planes it will have, or ends in zeros.
    growing
        There will be more: what is whole is restored, and the rest is left for later.
    """

    def __init__(
        self,
        file_stacks: FileStacks,
        format: FileFormat,  # noqa: A002 - what it is
        raw_folder: RawFolder,
        judged: StacksJudged,
        *,
        certain: bool = True,
        growing: bool = False,
    ) -> None:
        self.file_stacks = file_stacks
        self.certain = certain
        self._format = format
        self._raw_folder = raw_folder
        self._judged = judged
        self._growing = growing
        self._growth: Growth | None = None
        self._earlier: EarlierReport | None = None
        self._done: frozenset[StackIndex] = frozenset()
        self._together: Mapping[int, frozenset[int]] = {}
        self._left = {index: (each.state, each.reason) for index, each in judged.left.items()}

    @classmethod
    def open(
        cls,
        path: Path,
        formats: Sequence[FileFormat],
        files: FilesSettings,
        *,
        growing: bool = False,
        root: Path | None = None,
    ) -> FileJob:
        """Inspect ``path`` and return the job; ``growing`` as above.

        Of a part of an image, the job is that of the whole image. ``root``: the watched folder, in
        which the file would be found under another name.

        Raises
        ------
        StackError
            Not complete, nothing to restore, damaged, vanished, or one of our own results.
        """
        raw_folder = RawFolder.of(path, root)
        chosen = format_for(path, formats)
        if chosen is None:
            raise StackRefusedError(
                "is of no format that live-restore reads", path, "give it a TIFF stack"
            )
        growing = growing and isinstance(chosen, GrowingFileFormat)
        inspect = chosen.inspect
        if growing and isinstance(chosen, GrowingFileFormat):
            inspect = chosen.inspect_growing
        evidence = inspect(path)
        if isinstance(evidence, PartOf):
            path = evidence.path
            raw_folder = RawFolder.of(path, root)
            evidence = inspect(path)
            if isinstance(evidence, PartOf):  # each calls the other the first
                raise StackUnreadableError(
                    f"and {evidence.path.name} call each other the first file of their image",
                    path,
                    "export the image again",
                )
        if evidence is None:
            raise StackRefusedError(
                "is a result of live-restore itself", path, "give it the raw stack"
            )
        if isinstance(evidence, Complete) and evidence.file_stacks.other_files:
            growing = False  # of an image over several files no stack is ready before all are
        judged = judge_stacks(evidence, files, finished=not growing)
        if not judged.ready:
            if growing:  # its source saw more of it, or it is being written this very moment
                raise StackBusyError("no stack of it looks whole just now", path)
            if isinstance(evidence, Arriving):
                raise StackIncompleteError(
                    evidence.reason, path, "wait until it is written, or record it again"
                )
            raise StackIncompleteError(blank_reason(evidence), path)
        if isinstance(evidence, Arriving):
            assert evidence.stacks is not None
            return cls(evidence.stacks.file_stacks, chosen, raw_folder, judged, growing=growing)
        certain = evidence.declared and not (evidence.zero_tail or evidence.blank_planes)
        return cls(
            evidence.file_stacks, chosen, raw_folder, judged, certain=certain, growing=growing
        )

    @property
    def remainder(self) -> Remainder:
        """What of the file is not restored; see :class:`Job`."""
        return Remainder(self._left, self._growing)

    @property
    def result_bytes(self) -> int:
        """What is to be written; see :class:`Job`."""
        raw = self.file_stacks
        positions = (index.position for index in set(self._judged.ready) - self._done)
        return sum(math.prod(raw.shape_of(each)) for each in positions) * raw.dtype.itemsize

    def _whole(self) -> bool:
        """Return whether every stack that the file declares is ready, with all its planes."""
        all_there = len(self._judged.ready) == self.file_stacks.stack_count
        return all_there and not self._judged.partial and not self._growing

    def plan(self, model_set: ModelSet, settings: Settings) -> ResultPlan:
        """Choose where the result goes; see :class:`Job`.

        A whole file has its result in one piece. What grows, or lacks stacks, has one that grows,
        and is added to: a result of this file that is there holds what need not be done again.
        """
        model_name = require_a_model(self.file_stacks, model_set)
        self._together = channels_together(self.file_stacks, model_set)
        self._keep_whole_groups()
        request = self._request(model_name, model_set, settings)
        if self._whole():
            made = output_of_files().earlier(
                request, lambda report: is_of_file(report, self.file_stacks)
            )
            if made is not None:
                return planned(model_name, made, current=True, renamed=True)
        result_path = output_of_files().choose(request)
        grew = None
        if not result_path.taken:
            grew = output_of_files().earlier(
                request, lambda report: self._is_of_this_file(earlier_report(report), renamed=True)
            )
            if grew is not None and grown_stacks(grew) is not None:
                result_path = grew
        grown = grown_stacks(result_path) if result_path.taken else None
        if self._whole() and grown is None:
            current = is_current(result_path, self.file_stacks)
            return planned(model_name, result_path, current=current)
        earlier = earlier_report(result_path.report)
        if earlier is not None and grown is not None and self._is_of_this_file(earlier):
            self._earlier, self._done = earlier, grown & earlier.stacks.keys()
        elif self._whole():
            return planned(model_name, result_path, current=False)
        first_z = {index: z[0] for index, z in self._judged.partial.items()}
        self._growth = Growth(bool(self._done), not self._growing, first_z)
        current = earlier is not None and self._done.issuperset(self._judged.ready)
        if earlier is not None and not self._growing:
            same = earlier.source.agrees(self.file_stacks.fingerprint)
            current = current and earlier.finished and same
        return planned(model_name, result_path, current=current, renamed=result_path is grew)

    def _keep_whole_groups(self) -> None:
        """Leave out stacks of which another channel, that is restored with them, is not whole.

        Raises
        ------
        StackIncompleteError
            None is left; of a file that is still being written, ``StackBusyError``.
        """
        whole = set(self._judged.ready) - self._judged.partial.keys()
        for index in self._judged.ready if self._together else ():
            for channel in self._together.get(index.channel, ()):
                if index._replace(channel=channel) not in whole:
                    reason = f"channel {channel}, with which it is restored, is not whole"
                    self._left[index] = (State.INCOMPLETE, reason)
        ready = tuple(index for index in self._judged.ready if index not in self._left)
        if not ready:
            kind = StackBusyError if self._growing else StackIncompleteError
            raise kind(
                "has no stack of which all channels that are restored together are whole",
                self.file_stacks.path,
            )
        self._judged = replace(self._judged, ready=ready)
        if self._growing:  # they may come yet
            self._left.clear()

    def _is_of_this_file(self, earlier: EarlierReport | None, *, renamed: bool = False) -> bool:
        """Return whether a result was made of this file and not of an earlier one of its name.

        The pixels of its first stack tell. All others are compared once the file is finished.
        ``renamed``: it was, under another name, which nothing has any more.
        """
        if earlier is None:
            return False
        if renamed and (self.file_stacks.path.parent / earlier.source_name).exists():
            return False
        for index in self._judged.ready:
            known = earlier.checksum(index)
            if known is not None:
                try:
                    with self._opened() as reader:
                        return checksum_of(self._read(reader, index)) == known
                except _OF_ONE_STACK:
                    return False
        return False

    def read(self) -> Iterator[RawStack | None]:
        """Yield every stack that is not in the result yet; raises ``StackError``.

        One that cannot be read, or holds values that are no numbers, costs the others nothing. In
        the end every stack that was restored while the file grew is compared with what is there.
        """
        errors: list[StackError] = []
        some = False
        with self._opened() as reader:
            for index in self._judged.ready:
                done = index in self._done
                if (done and self._growing) or index in self._left:
                    continue
                began = time.perf_counter()
                try:
                    volume = self._read(reader, index)
                except _OF_ONE_STACK as error:
                    if self._growing:  # it may be overwritten yet; in the end it counts
                        continue
                    errors.append(error)
                    self._leave(index, error.reason)
                    yield None
                    continue
                # Channels that are restored together are, also if only one of them has changed.
                known = self._earlier if index.channel not in self._together else None
                if done and known and known.checksum(index) == checksum_of(volume):
                    yield None
                else:
                    some = True
                    yield RawStack(index, volume, time.perf_counter() - began)
        if errors and self._left.keys() >= set(self._judged.ready):
            raise errors[0]
        if not (some or self._done):
            raise StackBusyError("no stack of it can be read just now", self.file_stacks.path)

    def _leave(self, index: StackIndex, reason: str) -> None:
        """Leave out a stack, and those of the channels that are restored together with it."""
        self._left[index] = (State.FAILED, reason)
        for channel in self._together.get(index.channel, frozenset()) - {index.channel}:
            reason = f"channel {index.channel}, with which it is restored, cannot be read"
            self._left.setdefault(index._replace(channel=channel), (State.FAILED, reason))

    @contextmanager
    def _opened(self) -> Iterator[StackReader]:
        in_parts = not self._whole() or self._growth is not None
        growing = in_parts and isinstance(self._format, GrowingFileFormat)
        chosen = cast("GrowingFileFormat", self._format)
        open_ = chosen.open_growing if growing else chosen.open
        try:
            with open_(self.file_stacks) as reader:
                yield reader
        except StackChangedError:
            self.check_unchanged()  # which knows whether it was renamed
            raise

    def _read(self, reader: StackReader, index: StackIndex) -> Volume:
        z = self._judged.partial.get(index)
        if z is None:
            return reader.read(index)
        return cast("PartialStackReader", reader).read_planes(index, z)

    def check_unchanged(self) -> tuple[str, ...]:
        """Compare the file with the one that was inspected; return what the report must warn of.

        A file that was moved or deleted after it was read has a result all the same: that its name
        is gone changes no pixel. One that is another now has none.

        Raises
        ------
        StackChangedError
            It has another size or time; ``StackRenamedError``: another name.
        StackBusyError
            It cannot be looked at just now, or its whole folder is gone.
        """
        path = self.file_stacks.path
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._raw_folder.require()
            self._raw_folder.require_not_renamed(
                path, lambda name: format_for(path.with_name(name), [self._format]) is not None
            )
            return ("the raw file was moved or deleted after it had been read",)
        except OSError as error:
            raise not_looked_at(path, error) from error
        now, found = Fingerprint.of(status), self.file_stacks.fingerprint
        if now != found and not (self._growing and now.size >= found.size):
            raise StackChangedError(
                "changed while it was being restored", path, "let it be written to its end first"
            )
        for other, fingerprint in self.file_stacks.other_files:
            # What was moved or deleted after it had been read changes no pixel either.
            with suppress(OSError):
                if Fingerprint.of(other.lstat()) != fingerprint:
                    raise StackChangedError(
                        "changed while its image was being restored",
                        other,
                        "let all its files be written first",
                    )
        return ()

    def begin(self, plan: ResultPlan, model_set: ModelSet, settings: Settings) -> Publication:
        """Begin to publish the result; see :class:`Job`."""
        self.check_unchanged()  # where its folder is gone, that must not be made anew
        request = self._request(plan.model_name, model_set, settings)
        return output_of_files().begin(request, plan.result_path, self.check_unchanged)

    def _request(self, model_name: str, model_set: ModelSet, settings: Settings) -> ResultRequest:
        return ResultRequest(
            self.file_stacks,
            settings.output.template,
            model_name,
            model_set.recipe,
            settings.pixel_digest(),
            settings.output.units,
            settings=settings.pixel_settings(),
            error_bars=settings.output.error_bars,
            growth=self._growth,
            left=lambda: {index: reason for index, (_, reason) in self._left.items()},
        )
