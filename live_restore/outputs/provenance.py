"""What ties a result to the raw data and the recipe that it was made of, read back from its report.

Anybody may have changed, moved or deleted a report since: whatever is odd about one means that it
tells nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from live_restore.errors import one_line
from live_restore.files.reading import holds_nothing, open_regular
from live_restore.files.values import NotJsonError
from live_restore.outputs.output import ResultPath
from live_restore.outputs.report_file import REPORT_FORMAT, read_report
from live_restore.stack import FileStacks, Fingerprint, StackIndex
from live_restore.trust.doubt_lines import in_one_line

_LONGEST_DOUBT = 1000
_LONGEST_NAME = 100
# The first tells; others are asked in case somebody has spoilt it.
_REPORTS_ASKED = 5
_PLAIN_REPORTS = re.compile(r"p\d{3,}\.reports")


@dataclass(frozen=True)
class EarlierReport:
    """What the report of a result that has grown so far says.

    Parameters
    ----------
    source_name, source
        The raw file as it was.
    finished
        Whether nothing more was to come.
    stacks
        Its lines about the stacks that it holds.
    models, warnings, notes, seconds
        As the report has them.
    """

    source_name: str
    source: Fingerprint
    finished: bool
    stacks: dict[StackIndex, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    warnings: list[str]
    notes: list[str]
    seconds: dict[str, float]

    def checksum(self, index: StackIndex) -> int | None:
        """Return the CRC-32 of the raw voxels that a stack was made of, ``None`` if unknown."""
        found = self.stacks.get(index, {}).get("raw_crc32")
        return found if isinstance(found, int) else None


def earlier_report(path: Path) -> EarlierReport | None:
    """Return what the report of a growing result says, ``None`` where there is none of use."""
    try:
        report = read_report(path)
        source, lines = report["source"], {}
        for line in report["stacks"]:
            index = StackIndex(line["position"], line["time"], line["channel"])
            if all(type(number) is int and 0 <= number < 2**31 for number in index):
                lines[index] = dict(line)
        return EarlierReport(
            Path(source["name"]).name,
            Fingerprint(int(source["size"]), int(source["mtime_ns"])),
            report["finished"] is True,
            lines,
            {str(name): dict(model) for name, model in report["models"].items()},
            [str(text) for text in report["warnings"]],
            [str(text) for text in report["notes"]],
            {str(name): float(value) for name, value in report["seconds"].items()},
        )
    except (OSError, NotJsonError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def is_current(result_path: ResultPath, file_stacks: FileStacks) -> bool:
    """Return whether the published result of this very raw file is already in its place."""
    # No report, or not one of ours: then there is no result either.
    return is_of_file(result_path.report, file_stacks) and result_path.taken


def published_doubt(result_path: ResultPath) -> str:
    """Return why the result that is there is doubtful, as its report says; "" where it is not."""
    try:
        stacks = read_report(result_path.report)["stacks"]
        return one_line(in_one_line([line.get("doubts", ()) for line in stacks]))[:_LONGEST_DOUBT]
    except (OSError, NotJsonError, KeyError, TypeError, AttributeError):
        return ""


def restored_pixels(report: Path) -> int | None:
    """Return the CRC-32 of the raw pixels that the first stack of a result was made of.

    ``None`` where there is no report, or where it does not tell.
    """
    try:
        checksum = read_report(report)["stacks"][0]["raw_crc32"]
    except (OSError, NotJsonError, LookupError, TypeError):
        return None
    return checksum if isinstance(checksum, int) else None


def made_of(report: Path) -> Fingerprint | None:
    """Return what the raw data of a result were like, ``None`` where its report does not tell."""
    try:
        source = read_report(report)["source"]
        return Fingerprint.in_range(int(source["size"]), int(source["mtime_ns"]))
    except (OSError, NotJsonError, LookupError, TypeError, ValueError, OverflowError):
        return None


def begun_by_another(results: Path, recipe: str) -> str:
    """Return the model that a run was begun with, where that was by another recipe; else "".

    A run is a series that people play and measure: what a second model makes of it must not lie
    between the stacks of the first. Whose the plain names are, a report under one tells.

    Parameters
    ----------
    results
        The folder for the results of an acquisition.
    recipe
        See ``ModelSet``.
    """
    for path in islice(_plain_reports(results), _REPORTS_ASKED):
        try:
            report = read_report(path)
            if report["recipe"] == recipe:
                return ""
            return one_line(next(iter(report["models"])))[:_LONGEST_NAME]
        except (OSError, NotJsonError, KeyError, TypeError, StopIteration):
            continue
    return ""


def _plain_reports(results: Path) -> Iterator[Path]:
    """Yield reports of stacks under names that carry no model, one of each growing image."""
    try:
        with os.scandir(results) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    if StackIndex.from_label(entry.name.removesuffix(".json")) is not None:
                        yield Path(entry.path)
                elif _PLAIN_REPORTS.fullmatch(entry.name):
                    yield from islice(Path(entry.path).glob("*.json"), 1)
    except OSError:
        return  # no results yet, or none to be seen: what is there is looked at by its name


def made_by(report: Path, recipe: str) -> bool:
    """Return whether a report tells of a result that this recipe made, whatever it is called."""
    try:
        return bool(read_report(report)["recipe"] == recipe)
    except (OSError, NotJsonError, LookupError, TypeError):
        return False


def is_of_file(report: Path, file_stacks: FileStacks) -> bool:
    """Return whether a report tells of a file of this size and time, whatever it was called.

    And of all of it: where a result lacks stacks or its error bars, whoever asks wants those.
    """
    try:
        found = read_report(report)
        source = found["source"]
        then = Fingerprint.in_range(int(source["size"]), int(source["mtime_ns"]))
        same = then.agrees(file_stacks.fingerprint)
        whole = not found.get("left_out") and found.get("finished", True) is True
        whole = whole and _has_error_bars(report, found)
    except (
        OSError, NotJsonError, LookupError, TypeError, ValueError, AttributeError, OverflowError,
    ):  # fmt: skip
        return False
    return bool(same and whole)


def has_error_bars(report: Path) -> bool:
    """Return whether the error bars that a report names are there and not empty, or it has none."""
    try:
        return _has_error_bars(report, read_report(report))
    except (OSError, NotJsonError, TypeError, ValueError, AttributeError):
        return False


def _has_error_bars(path: Path, report: dict[str, Any]) -> bool:
    name = report.get("error_bars")
    return name is None or not holds_nothing(path.with_name(Path(name).name))


def report_name_is_ours(path: Path) -> bool:
    """Return whether there is nothing at ``path``, or a report."""
    try:
        with open_regular(path) as file:
            return REPORT_FORMAT.encode() in file.read(200)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
