"""What ties a result to the raw data and the recipe that it was made of, read back from its report.

Anybody may have changed, moved or deleted a report since: whatever is odd about one means that it
tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live_restore.errors import one_line
from live_restore.files.reading import open_regular
from live_restore.files.values import NotJsonError
from live_restore.outputs.output import ResultPath
from live_restore.outputs.report_file import REPORT_FORMAT, read_report
from live_restore.stack import FileStacks, Fingerprint, StackIndex
from live_restore.trust.doubts import in_one_line

_LONGEST_DOUBT = 1000


@dataclass(frozen=True)
class EarlierReport:
    """What the report of a result that has grown so far says.

    Parameters
    ----------
    source
        The raw file as it was.
    finished
        Whether nothing more was to come.
    stacks
        Its lines about the stacks that it holds.
    models, warnings, notes, seconds
        As the report has them.
    """

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


def earlier_report(result_path: ResultPath) -> EarlierReport | None:
    """Return what the report of a growing result says, ``None`` where there is none of use."""
    try:
        report = read_report(result_path.report)
        source, lines = report["source"], {}
        for line in report["stacks"]:
            index = StackIndex(line["position"], line["time"], line["channel"])
            if all(type(number) is int and 0 <= number < 2**31 for number in index):
                lines[index] = dict(line)
        return EarlierReport(
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
    try:
        report = read_report(result_path.report)
        source = report["source"]
        same = (source["size"], source["mtime_ns"]) == tuple(file_stacks.fingerprint)
        same = same and not report.get("left_out")  # whoever asks wants to know of those
    except (OSError, NotJsonError, KeyError, TypeError):
        return False  # no report, or not one of ours: then there is no result either
    return bool(same) and result_path.taken


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


def report_name_is_ours(path: Path) -> bool:
    """Return whether there is nothing at ``path``, or a report."""
    try:
        with open_regular(path) as file:
            return REPORT_FORMAT.encode() in file.read(200)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
