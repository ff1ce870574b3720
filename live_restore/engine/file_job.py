"""A complete file, as a job: all its stacks give one result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from live_restore.engine.job import RawStack, ResultPlan, planned, require_a_model
from live_restore.engine.raw_folder import RawFolder
from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackIncompleteError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.formats.file_format import Arriving, FileFormat, PartOf
from live_restore.formats.table import format_for
from live_restore.inference.model_set import ModelSet
from live_restore.outputs.output import Publication, ResultRequest
from live_restore.outputs.provenance import is_current, is_of_file
from live_restore.outputs.table import output_of_files
from live_restore.settings.model import FilesSettings, Settings
from live_restore.sources.completeness import blank_reason
from live_restore.stack import FileStacks, Fingerprint


@dataclass(frozen=True)
class FileJob:
    """A complete file, ready to be read.

    ``certain`` is False where only quiet tells that nobody is still writing to it: the file does
    not say how many planes it will have, or ends in zeros. ``raw_folder`` is its folder.
    """

    file_stacks: FileStacks
    format: FileFormat
    raw_folder: RawFolder
    certain: bool = True

    @classmethod
    def open(cls, path: Path, formats: Sequence[FileFormat], files: FilesSettings) -> FileJob:
        """Inspect ``path`` and return the job; of a part of an image, that of the whole image.

        Raises
        ------
        StackError
            Not complete, nothing to restore, damaged, vanished, or one of our own results.
        """
        raw_folder = RawFolder.of(path.parent)
        chosen = format_for(path, formats)
        if chosen is None:
            raise StackRefusedError(
                "is of no format that live-restore reads", path, "give it a TIFF stack"
            )
        evidence = chosen.inspect(path)
        if isinstance(evidence, PartOf):
            path = evidence.path
            evidence = chosen.inspect(path)
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
        if isinstance(evidence, Arriving):
            raise StackIncompleteError(
                evidence.reason, path, "wait until it is written, or record it again"
            )
        if evidence.blank_planes and files.blank_planes == "incomplete":
            raise StackIncompleteError(blank_reason(evidence), path)
        return cls(
            evidence.file_stacks, chosen, raw_folder, evidence.declared and not evidence.zero_tail
        )

    def read(self) -> Iterator[RawStack]:
        """Yield every stack; raises ``StackError``."""
        with self.format.open(self.file_stacks) as reader:
            for index in self.file_stacks.indices():
                began = time.perf_counter()
                volume = reader.read(index)
                yield RawStack(index, volume, time.perf_counter() - began)

    def check_unchanged(self) -> tuple[str, ...]:
        """Compare the file with the one that was inspected; return what the report must warn of.

        A file that was moved or deleted after it was read has a result all the same: that its name
        is gone changes no pixel. One that is another now has none.

        Raises
        ------
        StackChangedError
            It has another size or time.
        StackBusyError
            It cannot be looked at just now, or its whole folder is gone.
        """
        path = self.file_stacks.path
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self.raw_folder.require()
            return ("the raw file was moved or deleted after it had been read",)
        except OSError as error:
            raise StackBusyError(
                f"cannot be looked at ({error.strerror or error})", path,
                "check the disk or the network",
            ) from error  # fmt: skip
        if Fingerprint.of(status) != self.file_stacks.fingerprint:
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

    def plan(self, model_set: ModelSet, settings: Settings) -> ResultPlan:
        """Choose where the result goes; see :class:`Job`."""
        model_name = require_a_model(self.file_stacks, model_set)
        request = self._request(model_name, model_set, settings)
        earlier = output_of_files().earlier(
            request, lambda report: is_of_file(report, self.file_stacks)
        )
        if earlier is not None:
            return planned(model_name, earlier, current=True)
        result_path = output_of_files().choose(request)
        current = is_current(result_path, self.file_stacks)
        return planned(model_name, result_path, current=current)

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
        )
