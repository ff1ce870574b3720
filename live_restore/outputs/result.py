"""Publish the result of one file: the restored OME-TIFF, then its report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from live_restore.errors import OutputError
from live_restore.outputs.naming import candidates, report_path
from live_restore.outputs.ome_tiff import OmeTiffWriter, read_token, writing_ome_tiff
from live_restore.outputs.publish import publish_text, publishing
from live_restore.outputs.report import REPORT_FORMAT, Report, StackOutcome
from live_restore.stack import Dataset


@dataclass(frozen=True)
class Published:
    """A result that is safely on disk.

    ``delay_s`` is the time from the raw file's last write to the report's publication.
    """

    image: Path
    report: Path
    delay_s: float
    seconds: dict[str, float]
    warnings: tuple[str, ...]


def choose_result(source: Path, template: str, model_name: str, recipe: str) -> tuple[Path, str]:
    """Return the path for the result of ``source`` by ``recipe``, and its token.

    A name is taken if it is free, or holds an earlier result of the same file and recipe. Results
    of other recipes, and files of anybody else, are never overwritten; nor is a file of anybody
    else that has the name of the report.

    Raises
    ------
    OutputError
        Both possible names are taken by files that are not ours to replace.
    """
    tried = []
    for path, token in candidates(source, template, model_name, recipe):
        if path == source:
            tried.append(path)
            continue
        free = not path.exists() or read_token(path) == token
        if free and _report_name_is_ours(report_path(path)):
            return path, token
        tried.append(path)
    raise OutputError(
        f"is taken by a file that live-restore did not write (so is {tried[-1].name})",
        tried[0],
        "move that file away, or set output.template to another folder",
    )


def _report_name_is_ours(path: Path) -> bool:
    """Return whether there is nothing at ``path``, or a report."""
    try:
        with path.open("rb") as file:
            return REPORT_FORMAT.encode() in file.read(200)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def is_current(image: Path, dataset: Dataset, token: str) -> bool:
    """Return whether ``image`` is already the published result of this very raw file."""
    try:
        report = json.loads(report_path(image).read_text(encoding="utf-8"))
        source = report["source"]
        same = (source["size"], source["mtime_ns"]) == tuple(dataset.fingerprint)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False  # no report, or not one of ours: then there is no result either
    return bool(same) and read_token(image) == token


def publish_result(
    dataset: Dataset,
    outcomes: Iterable[StackOutcome],
    *,
    template: str,
    model_name: str,
    recipe: str,
    settings_digest: str,
    units: Literal["camera", "network"] = "camera",
) -> Published:
    """Write every outcome as it comes and publish image and report.

    Parameters
    ----------
    dataset
        The raw file.
    outcomes
        Its stacks, in any order; may raise, and then nothing is published.
    template, model_name
        For the name of the result.
    recipe, settings_digest
        Go into the report.
    units
        Of the outcomes; network units are written as float32.

    Raises
    ------
    OutputError
        The disk refused, or what was read back differs from what was written.
    """
    image, token = choose_result(dataset.path, template, model_name, recipe)
    written = replace(dataset, dtype=np.dtype(np.float32)) if units == "network" else dataset
    report = Report(dataset, recipe, settings_digest, image.name, units)
    writing_s = 0.0
    writers: list[OmeTiffWriter] = []
    # A report of an earlier result must not stand beside a newer image, whatever happens between.
    with publishing(image, check=lambda path: writers[0].check(path)) as temporary:
        with writing_ome_tiff(temporary, written, token) as writer:
            writers.append(writer)
            for outcome in outcomes:
                began = time.perf_counter()
                writer.write(outcome.key, outcome.volume)
                writing_s += time.perf_counter() - began
                report.add(outcome, dataset.channel_name(outcome.key.channel))
        began = time.perf_counter()
        report_path(image).unlink(missing_ok=True)
    publishing_s = time.perf_counter() - began
    delay_s = max(0.0, time.time() - dataset.fingerprint.mtime_ns / 1e9)
    publish_text(
        report_path(image),
        report.to_json(write=writing_s, publish=publishing_s, delay=delay_s),
    )
    return Published(
        image,
        report_path(image),
        delay_s,
        {**report.seconds, "write": writing_s, "publish": publishing_s},
        tuple(report.warnings),
    )
