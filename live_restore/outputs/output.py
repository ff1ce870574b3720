"""The seam of the outputs: where a result goes, how it is written, whose it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from live_restore.formats.acquisition_format import AcquisitionInfo
from live_restore.inference.cameras import CameraChoice
from live_restore.inference.model.model import Model
from live_restore.inference.restored import Restored
from live_restore.stack import FileStacks, StackIndex, Units, Volume
from live_restore.trust.stack_trust import StackTrust

Proof = Callable[[Path], bool]
"""Whether the result that a report tells of was made of the very raw data that are there now."""

Verify = Callable[[], tuple[str, ...]]
"""Looks at the raw data once more; raises what keeps the result back, returns warnings."""


@dataclass(frozen=True)
class FinishedStack:
    """One stack that a worker is done with: restored, or left as it is.

    Parameters
    ----------
    index
        Which stack of ``ResultRequest.file_stacks``.
    raw
        (Z, Y, X) as read.
    restored, model
        What became of it, and by which model; ``None`` where it was left as it is.
    trust
        What its voxels tell about it.
    reason
        Why it was left as it is.
    read_s
        How long reading took (s).
    camera
        Which of the settings recorded it; ``None`` where they have none.
    """

    index: StackIndex
    raw: Volume
    restored: Restored | None
    model: Model | None
    trust: StackTrust
    reason: str = ""
    read_s: float = 0.0
    camera: CameraChoice | None = None

    @property
    def volume(self) -> Volume:
        """The voxels to write, (Z, Y, X)."""
        return self.raw if self.restored is None else self.restored.volume

    @property
    def bars(self) -> Volume:
        """The standard errors to write, (Z, Y, X) float32 (ADU); NaN where they are not known."""
        found = None if self.restored is None else self.restored.error_bars
        if found is None or found.standard_error is None:
            return np.full(self.raw.shape, np.nan, np.float32)
        return found.standard_error


@dataclass(frozen=True)
class AcquisitionStack:
    """Which stack of which acquisition folder."""

    acquisition: AcquisitionInfo
    index: StackIndex


@dataclass(frozen=True)
class Growth:
    """What makes the result of a file grow, instead of being written in one piece.

    Parameters
    ----------
    goes_on
        Whether the result that is there, which has grown so far, is added to.
    finished
        Nothing more will come.
    first_z
        The first plane (z) of those stacks of which not all planes are restored.
    """

    goes_on: bool
    finished: bool
    first_z: Mapping[StackIndex, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultRequest:
    """What a result is made of, by which recipe, and where it is to go.

    Parameters
    ----------
    file_stacks
        The raw file; or one stack of an acquisition folder, described as a file of its own.
    template
        Path of the result, with ``{folder}`` (of the raw file) and ``{name}`` (without endings).
    model_name
        Goes into the name of a second result of the same raw data.
    recipe
        Digest (hex) of all that can change a voxel; see ``ModelSet``.
    settings_digest
        Goes into the report.
    units
        Of the restored stacks; all but ``"camera"`` are float32.
    acquisition_stack
        Where it comes from; ``None``: from a file.
    apart
        Results by another recipe have the plain names in this folder: take none that is free.
    settings
        Those that can change a voxel, as they are written in a config.toml; go into the report.
    growth
        How the result of a file grows; ``None``: it is written in one piece.
    left
        Asked once the last stack is there: what the result does not hold of the raw file, and why.
    error_bars
        Whether a second image holds the standard error of every voxel; see ``FinishedStack.bars``.
    """

    file_stacks: FileStacks
    template: str
    model_name: str
    recipe: str
    settings_digest: str
    units: Units = "camera"
    acquisition_stack: AcquisitionStack | None = None
    apart: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    growth: Growth | None = None
    left: Callable[[], Mapping[StackIndex, str]] = dict
    error_bars: bool = False


@dataclass(frozen=True)
class ResultPath:
    """Where the result of one file, or of one stack, goes.

    ``taken``: an earlier result of the same raw data and recipe is there, and may be replaced.
    ``token`` is kept in the image, and ties it to both. ``begun``: the image is there and ours, and
    takes this stack beside others.
    """

    image: Path
    report: Path
    token: str
    taken: bool
    begun: bool = False


@dataclass(frozen=True)
class Published:
    """A result that is safely on disk.

    ``delay_s`` is the time from the raw file's last write to the report's publication. ``doubt``
    says in one line why the result is doubtful ("": it is not); ``notes`` what could not be
    compared; ``device_warnings`` what is not as hoped for about where it was made; ``stacks`` and
    ``voxels`` how many were written, restored or left as they are; ``less_light`` what less light
    would cost, as last estimated of its stacks ("": of none).
    """

    image: Path
    report: Path
    delay_s: float
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    doubt: str = ""
    device_warnings: tuple[str, ...] = ()
    stacks: int = 1
    voxels: int = 0
    less_light: str = ""


class Publication(ABC):
    """A result on its way to disk: stacks are taken as they come, then it is published.

    As a context it leaves nothing behind unless it was closed.
    """

    @abstractmethod
    def take(self, stack: FinishedStack) -> None:
        """Write one stack aside; all that the result is made of are taken, in any order.

        Raises
        ------
        OutputError
            The disk refused; nothing is left.
        """

    @abstractmethod
    def close(self) -> Published:
        """Look at the raw data once more, then publish image and report.

        Raises
        ------
        OutputError
            The disk refused, or what was read back differs from what was written.
        LiveRestoreError
            What ``verify`` raised. Either way nothing is left.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Leave nothing behind; raises nothing, and does nothing to what is published."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abandon()


class Output(Protocol):
    """A kind of image that results are written as.

    ::

        choose(request) ──> is it there already? ──yes──> nothing to do
                                   │ no
                            begin(request, path, verify) ──> Publication
                                   │
                            take(stack): writes each aside as it comes
                                   │
                            close(): verify() ──raises──> nothing is left behind
                                   │
                            image under its final name, then the report

    One object serves all results, from one thread at a time per result. ``choose`` is called before
    any work is done, ``begin`` after some of it; neither ever overwrites what it did not write.
    A subclass of ``live_restore.testing.outputs.OutputCompliance`` tests all of this.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from live_restore.outputs.provenance import is_current
    >>> from live_restore.outputs.table import make_output
    >>> from live_restore.stack import Fingerprint
    >>> from live_restore.trust.stack_trust import assess
    >>> temporary = tempfile.TemporaryDirectory()
    >>> folder = Path(temporary.name)
    >>> raw = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    >>> stacks = FileStacks(folder / "cell.tif", Fingerprint(120, 0), 1, 1, 1, raw.shape, raw.dtype)
    >>> request = ResultRequest(stacks, "{folder}/restored/{name}.ome.tif", "fast", "f" * 64, "s")
    >>> output = make_output("ome-tiff")
    >>> path = output.choose(request)
    >>> is_current(path, stacks)
    False
    >>> finished = FinishedStack(
    ...     StackIndex(), raw, None, None, assess(raw, None, None, stacks.voxel), "not asked for"
    ... )
    >>> with output.begin(request, path) as publication:
    ...     publication.take(finished)
    ...     published = publication.close()
    >>> published.image.name, published.report.name, published.warnings
    ('cell.ome.tif', 'cell.json', ('left as it is: not asked for',))
    >>> is_current(output.choose(request), stacks), output.made(published.image)
    (True, True)
    >>> temporary.cleanup()
    """

    def choose(self, request: ResultRequest) -> ResultPath:
        """Return where the result goes; write nothing.

        A name is taken if it is free, or holds an earlier result of the same raw data and recipe.

        Raises
        ------
        StackRefusedError
            It can never be written: its name would be too long, its image is of another shape.
        OutputError
            All names that it may have are taken by what is not ours to replace, or cannot be
            looked at.
        """
        ...

    def earlier(self, request: ResultRequest, proof: Proof) -> ResultPath | None:
        """Return a result by this recipe that was made under another name; write nothing.

        Where raw data and results were renamed together, :meth:`choose` does not know the result
        any more: its token holds the former name. ``None`` where there is none.
        """
        ...

    def begin(
        self, request: ResultRequest, result_path: ResultPath, verify: Verify = tuple
    ) -> Publication:
        """Begin to write a result aside.

        Parameters
        ----------
        request, result_path
            As for, and from, :meth:`choose`.
        verify
            Called after the last stack: what it raises keeps the result from being published, what
            it returns are warnings for the report.

        Raises
        ------
        OutputError
            The disk refused.
        """
        ...

    def made(self, path: Path) -> bool:
        """Return whether the image at ``path`` is one that this output wrote; raises nothing.

        Whoever looks for raw data must never take a result for it.
        """
        ...
