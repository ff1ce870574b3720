"""Publishing a result that grows: its first stacks as a new file, further ones into it."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import BinaryIO

from live_restore.errors import OutputError
from live_restore.files import disk
from live_restore.files.publish import disk_errors, publishing, remove_for_good
from live_restore.outputs.growing_tiff import Contents, GrowingTiff, contents_of
from live_restore.outputs.output import (
    FinishedStack,
    Publication,
    Published,
    ResultPath,
    ResultRequest,
    Verify,
)
from live_restore.outputs.provenance import earlier_report
from live_restore.outputs.report import Report
from live_restore.stack import result_dtype

_NO_BARS = (
    "no error bars are written for a result that grows with its file, or lacks stacks: restore the "
    "finished file with live-restore restore, into another folder"
)


class _AbandonedError(Exception):
    """Makes contexts clean up as after an error."""


class GrowingPublication(Publication):
    """Stacks on their way into a file that grows; see ``Publication`` and ``growing_tiff.py``.

    A new file is written aside and given its name as any other. One that is there is added to
    behind its end, and what is added becomes visible all at once in :meth:`close`. Its report comes
    last: until then the earlier one tells the truth about the stacks that it lists.
    """

    def __init__(
        self,
        request: ResultRequest,
        result_path: ResultPath,
        verify: Verify,
        software: str,
    ) -> None:
        growth = request.growth
        assert growth is not None
        self._result_path = result_path
        self._request = request
        self._verify = verify
        self._first_z = growth.first_z
        self._writing_s = 0.0
        raw = request.file_stacks
        written = replace(raw, dtype=result_dtype(raw.dtype, request.units))
        earlier = earlier_report(result_path.report) if growth.goes_on else None
        contents = contents_of(result_path.image) if growth.goes_on else None
        self._added_to = earlier is not None and contents is not None
        image = result_path.image
        self._file: BinaryIO
        with ExitStack() as publishing_:
            if earlier is not None and contents is not None:
                self._report = Report.going_on(request, image.name, earlier)
                publishing_.enter_context(disk_errors(image))
                self._file = publishing_.enter_context(disk.current.open(image, "rb+"))
                self._end = self._file.seek(0, 2)
            else:
                contents = Contents()
                self._report = Report(request, image.name)
                temporary = publishing_.enter_context(
                    publishing(
                        image,
                        check=lambda path: self._tiff.check(path),
                        free=not result_path.taken,
                    )
                )
                self._file = disk.current.open(temporary, "wb+")
            self._tiff = GrowingTiff(self._file, written, software, contents)
            self._publishing = publishing_.pop_all()

    def take(self, stack: FinishedStack) -> None:
        """Write a stack where nothing leads to it yet; see ``Publication``."""
        began = time.perf_counter()
        try:
            self._tiff.append(stack.index, stack.volume, self._first_z.get(stack.index, 0))
        except BaseException:
            with self._publishing:  # it cleans up, and says what the disk refused
                self._leave()
                raise
        self._writing_s += time.perf_counter() - began
        self._report.add(stack)

    def close(self) -> Published:
        """Publish image and report; see ``Publication``."""
        with self._publishing:
            try:
                self._report.warnings += self._verify()
                self._report.leave_out(self._request.left())
                if self._request.error_bars and _NO_BARS not in self._report.notes:
                    self._report.notes.append(_NO_BARS)
                began = time.perf_counter()
                self._publish()
            except BaseException:
                self._leave()
                raise
            if not self._added_to:
                # An earlier result's report must not stand beside a newer image.
                report = self._result_path.report
                remove_for_good(report)
        took_s = time.perf_counter() - began
        return self._report.publish(
            self._result_path, replaces=self._added_to, write=self._writing_s, publish=took_s
        )

    def _publish(self) -> None:
        image = self._result_path.image
        self._tiff.describe(self._report.annotations())
        if not self._added_to:
            self._file.close()
            return
        disk.current.sync(image)
        self._tiff.check(image)
        self._end = -1  # from here on what was added may be led to
        self._tiff.link_planes()
        disk.current.sync(image)
        self._tiff.link_description()
        disk.current.sync(image)

    def abandon(self) -> None:
        """Leave nothing behind that anything leads to; see ``Publication``."""
        with suppress(_AbandonedError, OutputError), self._publishing:
            self._leave()
            raise _AbandonedError

    def _leave(self) -> None:
        """Cut off what was added, and close the file; a disk may refuse even that."""
        with suppress(OSError):
            if self._added_to and self._end >= 0 and not self._file.closed:
                self._file.truncate(self._end)
        with suppress(OSError):
            self._file.close()
