"""Publish the result of one file: the restored OME-TIFF, then its report."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from live_restore.errors import OutputError, StackRefusedError, one_line
from live_restore.files.naming import candidates, report_path
from live_restore.files.publish import publish_text, publishing, remove_for_good
from live_restore.files.reading import open_regular, read_regular
from live_restore.files.values import NotJsonError, json_object
from live_restore.outputs.ome_tiff import OmeTiffWriter, read_token, writing_ome_tiff
from live_restore.outputs.report import REPORT_FORMAT, Report, StackOutcome, told_doubt
from live_restore.stack import FileStacks, Units, result_dtype

_LONGEST_DOUBT = 1000
_LONGEST_NAME = 255
"""Of NTFS, APFS (UTF-16 units), ext4 and XFS (bytes)."""


_MAX_REPORT_BYTES = 128 * 2**20
"""Of a report: a stack takes about 1.5 kB."""


@dataclass(frozen=True)
class Published:
    """A result that is safely on disk.

    ``delay_s`` is the time from the raw file's last write to the report's publication. ``doubt``
    says in one line why the result is doubtful ("": it is not); ``notes`` what could not be
    compared; ``device_warnings`` what is not as hoped for about where it was made.
    """

    image: Path
    report: Path
    delay_s: float
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    doubt: str = ""
    device_warnings: tuple[str, ...] = ()

    @classmethod
    def told_by(
        cls, report: Report, result_path: ResultPath, delay_s: float, **seconds: float
    ) -> Published:
        """Return what a report says of a result; ``seconds`` are further ones."""
        return cls(
            result_path.image,
            result_path.report,
            delay_s,
            {**report.seconds, **seconds},
            tuple(report.warnings),
            tuple(report.notes),
            report.doubt(),
            tuple(report.device_warnings),
        )


@dataclass(frozen=True)
class ResultPath:
    """Where the result of one file, or of one stack, goes.

    ``taken``: an earlier result of the same raw data and recipe is there, and may be replaced.
    """

    image: Path
    report: Path
    token: str
    taken: bool


def choose_result(source: Path, template: str, model_name: str, recipe: str) -> ResultPath:
    """Return the place for the result of ``source`` by ``recipe``.

    A name is taken if it is free, or holds an earlier result of the same file and recipe. Results
    of other recipes, and files of anybody else, are never overwritten; nor is a file of anybody
    else that has the name of the report.

    Raises
    ------
    StackRefusedError
        The name of the result would be longer than names can be.
    OutputError
        Both possible names are taken by files that are not ours to replace, or their folder cannot
        be looked into.
    """
    tried = []
    for path, token in candidates(source, template, model_name, recipe):
        if path != source:
            there = _is_there(path, source)
            report = report_path(path)
            if (not there or read_token(path) == token) and report_name_is_ours(report):
                return ResultPath(path, report, token, there)
        tried.append(path)
    raise OutputError(
        f"is taken by a file that live-restore did not write (so is {tried[-1].name})",
        tried[0],
        "move that file away, or set output.template to another folder",
    )


def _is_there(path: Path, source: Path) -> bool:
    """Return whether anything has that name, be it a link that leads nowhere."""
    if _name_length(path) > _LONGEST_NAME:  # told before the work; the folder may not exist yet
        raise _too_long(path, source)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _too_long(path, source) from error
        raise OutputError(
            f"cannot be looked for ({error.strerror or error})",
            path,
            "make its folder readable, or set output.template to another",
        ) from error
    return True


def _name_length(path: Path) -> int:
    """Return the length of a name as file systems count it."""
    if os.name == "nt":
        return len(path.name.encode("utf-16-le", "surrogatepass")) // 2
    return len(os.fsencode(path.name))


def _too_long(path: Path, source: Path) -> StackRefusedError:
    return StackRefusedError(
        f"its result would have too long a name ({len(path.name)} characters)",
        source,
        "shorten the name",
    )


def report_name_is_ours(path: Path) -> bool:
    """Return whether there is nothing at ``path``, or a report."""
    try:
        with open_regular(path) as file:
            return REPORT_FORMAT.encode() in file.read(200)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def is_current(result_path: ResultPath, file_stacks: FileStacks) -> bool:
    """Return whether the published result of this very raw file is already in its place."""
    try:
        source = _read_report(result_path.report)["source"]
        same = (source["size"], source["mtime_ns"]) == tuple(file_stacks.fingerprint)
    except (OSError, NotJsonError, KeyError, TypeError):
        return False  # no report, or not one of ours: then there is no result either
    return bool(same) and result_path.taken


def published_doubt(result_path: ResultPath) -> str:
    """Return why the result that is there is doubtful, as its report says; "" where it is not."""
    try:
        return one_line(told_doubt(_read_report(result_path.report)["stacks"]))[:_LONGEST_DOUBT]
    except (OSError, NotJsonError, KeyError, TypeError, AttributeError):
        return ""  # a report that anybody may have changed or moved away since


def restored_pixels(report: Path) -> int | None:
    """Return the CRC-32 of the raw pixels that the first stack of a result was made of.

    ``None`` where there is no report, or where it does not tell.
    """
    try:
        checksum = _read_report(report)["stacks"][0]["raw_crc32"]
    except (OSError, NotJsonError, LookupError, TypeError):
        return None
    return checksum if isinstance(checksum, int) else None


def _read_report(path: Path) -> Any:
    return json_object(read_regular(path, _MAX_REPORT_BYTES))


def publish_result(
    file_stacks: FileStacks,
    outcomes: Iterable[StackOutcome],
    *,
    result_path: ResultPath,
    recipe: str,
    settings_digest: str,
    units: Units = "camera",
    verify: Callable[[], tuple[str, ...]] = tuple,
) -> Published:
    """Write every outcome as it comes and publish image and report.

    Parameters
    ----------
    dataset
        The raw file.
    outcomes
        Its stacks, in any order; may raise, and then nothing is published.
    place
        From :func:`choose_result`.
    recipe, settings_digest
        Go into the report.
    units
        Of the outcomes; all but ``"camera"`` are written as float32.
    verify
        Called after the last outcome: what it raises keeps the result from being published, what
        it returns are warnings for the report.

    Raises
    ------
    OutputError
        The disk refused, or what was read back differs from what was written.
    """
    image = result_path.image
    written = replace(file_stacks, dtype=result_dtype(file_stacks.dtype, units))
    report = Report(file_stacks, recipe, settings_digest, image.name, units)
    writing_s = 0.0
    writers: list[OmeTiffWriter] = []
    # A report of an earlier result must not stand beside a newer image, whatever happens between.
    with publishing(image, check=lambda path: writers[0].check(path)) as temporary:
        with writing_ome_tiff(temporary, written, result_path.token) as writer:
            writers.append(writer)
            for outcome in outcomes:
                began = time.perf_counter()
                writer.write(outcome.index, outcome.volume)
                writing_s += time.perf_counter() - began
                report.add(outcome, file_stacks.channel_name(outcome.index.channel))
            report.warnings += verify()
        began = time.perf_counter()
        remove_for_good(result_path.report)
    publishing_s = time.perf_counter() - began
    delay_s = max(0.0, time.time() - file_stacks.fingerprint.mtime_ns / 1e9)
    publish_text(
        result_path.report,
        report.to_json(write=writing_s, publish=publishing_s, delay=delay_s),
    )
    return Published.told_by(report, result_path, delay_s, write=writing_s, publish=publishing_s)
