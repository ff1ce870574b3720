"""One file's way through the restorer, shared by the daemon and by ``live-restore restore``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import (
    StackChangedError,
    StackIncompleteError,
    StackRefusedError,
)
from live_restore.formats.base import Arriving, Complete, Format
from live_restore.formats.table import format_for
from live_restore.inference.shelf import Shelf
from live_restore.outputs.report import StackOutcome
from live_restore.stack import Dataset, StackKey, Volume


@dataclass(frozen=True)
class RawStack:
    """A stack as read, (Z, Y, X), and how long that took (s)."""

    key: StackKey
    volume: Volume
    read_s: float


@dataclass(frozen=True)
class Job:
    """A complete file, ready to be read."""

    dataset: Dataset
    format: Format

    @classmethod
    def open(cls, path: Path, formats: Sequence[Format]) -> Job:
        """Inspect ``path`` and return the job.

        Raises
        ------
        StackError
            Not complete, nothing to restore, damaged, vanished, or one of our own results.
        """
        chosen = format_for(path, formats)
        if chosen is None:
            raise StackRefusedError(
                "is of no format that live-restore reads", path, "give it a TIFF stack"
            )
        evidence: Arriving | Complete | None = chosen.inspect(path)
        if evidence is None:
            raise StackRefusedError(
                "is a result of live-restore itself", path, "give it the raw stack"
            )
        if isinstance(evidence, Arriving):
            raise StackIncompleteError(
                evidence.reason, path, "wait until it is written, or record it again"
            )
        return cls(evidence.dataset, chosen)

    def read(self) -> Iterator[RawStack]:
        """Yield every stack; raises ``StackError``."""
        with self.format.open(self.dataset) as reader:
            for key in self.dataset.keys():  # noqa: SIM118 - a method of Dataset, not a dict
                began = time.perf_counter()
                volume = reader.read(key)
                yield RawStack(key, volume, time.perf_counter() - began)

    def check_unchanged(self) -> None:
        """Raise ``StackChangedError`` if the file is not the one that was inspected."""
        try:
            status = self.dataset.path.stat()
        except OSError:
            raise StackChangedError(
                "vanished while it was being restored", self.dataset.path
            ) from None
        if (status.st_size, status.st_mtime_ns) != tuple(self.dataset.fingerprint):
            raise StackChangedError(
                "changed while it was being restored", self.dataset.path,
                "nothing to do: it is looked at again",
            )  # fmt: skip


def restore_stack(
    raw: RawStack, dataset: Dataset, shelf: Shelf, cancelled: Callable[[], bool] = lambda: False
) -> StackOutcome:
    """Restore one stack with the model of its channel, or say why it stays as it is.

    In a file of several stacks, a constant one (a shutter that stayed shut) must not cost the
    others their result: it is copied, and the report says so.

    Raises
    ------
    StackRefusedError
        The file's only stack is constant.
    InferenceError
        The model failed.
    """
    restorer = shelf.restorer_for(dataset, raw.key.channel)
    if restorer is None:
        name = dataset.channel_name(raw.key.channel)
        return StackOutcome(
            raw.key, raw.volume, None, None, f'no model for channel "{name}"', raw.read_s
        )
    try:
        restored = restorer.restore(raw.volume, cancelled)
    except StackRefusedError as error:
        if dataset.stack_count == 1:
            raise
        return StackOutcome(raw.key, raw.volume, None, None, error.what, raw.read_s)
    return StackOutcome(raw.key, raw.volume, restored, restorer.model, "", raw.read_s)


def require_a_model(dataset: Dataset, shelf: Shelf) -> str:
    """Return the name of the first model used; refuse a file of which no channel has one.

    Raises
    ------
    StackRefusedError
        Every channel is skipped.
    """
    for channel in range(dataset.channels):
        restorer = shelf.restorer_for(dataset, channel)
        if restorer is not None:
            return restorer.model.card.name
    names = ", ".join(dataset.channel_name(c) for c in range(dataset.channels))
    raise StackRefusedError(
        f"no model for any of its channels ({names})", dataset.path, "add one to [[models]]"
    )
