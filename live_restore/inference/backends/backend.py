"""What a backend is: a runtime on a kind of device, which opens sessions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from live_restore.errors import DeviceMemoryError, RuntimeFailureError
from live_restore.inference.backends.session import CountsSession, Session, Shape5


@dataclass(frozen=True)
class ModelSource:
    """An ONNX model as bytes.

    ``digest`` is their SHA-256 (hex), ``path`` is for messages, ``precision`` what its graph
    computes in by its card.
    """

    path: Path
    content: bytes
    digest: str
    precision: str = "fp32"

    @classmethod
    def of(cls, path: Path, content: bytes, precision: str = "fp32") -> ModelSource:
        """Return a model with its digest."""
        return cls(path, content, hashlib.sha256(content).hexdigest(), precision)


@dataclass(frozen=True)
class Limits:
    """What a session may take of the computer.

    Parameters
    ----------
    threads
        CPU threads; 0: one per core that this process may use.
    gpu_memory_gb
        GPU memory (GB); ``None``: what is free.
    build
        Whether an engine that takes minutes to build may be built now.
    """

    threads: int = 0
    gpu_memory_gb: float | None = None
    build: bool = False

    def gpu_bytes(self, free_bytes: int) -> int:
        """Return how much of a GPU may be used, of what is free; 0: nobody knows how much."""
        if self.gpu_memory_gb is None:
            return free_bytes
        most = int(self.gpu_memory_gb * 1e9)
        return min(free_bytes or most, most)


class Backend(Protocol):
    """A runtime on a kind of device.

    In this order: ``obstacle`` is asked first, and where there is one, nothing else; then, once per
    start, ``precisions`` and ``version``; then ``open``, once per shape of tiles and precision, and
    the session runs the tiles. Nothing heavy is imported before one of the methods is called.

    Examples
    --------
    >>> import numpy as np
    >>> from live_restore.inference.backends.onnx_cpu import OnnxCpu
    >>> from live_restore.inference.load import find_model
    >>> path = find_model("fast")
    >>> source = ModelSource.of(path, path.read_bytes())
    >>> backend = OnnxCpu()
    >>> backend.obstacle(), backend.precisions()
    ('', ('fp32',))
    >>> session = backend.open(source, (1, 1, 4, 16, 16), "fp32", 0, Limits(threads=1))
    >>> session.run(np.zeros((1, 1, 4, 16, 16), np.float32)).shape
    (1, 1, 4, 16, 16)
    """

    name: str
    """As in ``inference.device``."""
    on_cpu: bool

    def obstacle(self) -> str:
        """Return why it cannot even be tried here and how to mend that, or "" where it can."""
        ...

    def precisions(self) -> tuple[str, ...]:
        """Return what this device computes float32 models in, "fp32" first; without obstacle."""
        ...

    def version(self) -> str:
        """Return the runtime and its version; another one is measured anew."""
        ...

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> Session:
        """Return a session for tiles of one shape on device number ``index``.

        Raises
        ------
        ModelError
            The runtime cannot load the model.
        DeviceError
            The device does not work, or another one would be used in silence.
        """
        ...


@runtime_checkable
class TakesCounts(Protocol):
    """A backend whose sessions can do all that is done per voxel, not only the network.

    Where tiles are carried to a device and back, half the bytes go there and back, and nothing of
    it is left for the processor.
    """

    def open_counts(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> CountsSession:
        """Return a session for tiles of grey values, as :meth:`Backend.open` does.

        Its voxels are equal to the bit to those of the other session, scaled and finished on the
        processor.

        Raises
        ------
        ModelError, DeviceError
            As :meth:`Backend.open`; the model may be none that can be extended.
        """
        ...


@runtime_checkable
class RunsFile(Protocol):
    """A backend that runs a file beside the model, which may be made anew for the same model."""

    def file_digest(self, source: ModelSource) -> str:
        """Return the file's SHA-256 (hex), or "" where there is none; another is measured anew."""
        ...


@dataclass(frozen=True)
class Form:
    """Another way to run a network on a device.

    Parameters
    ----------
    backend
        That runs it so; it has the name of the ordinary one.
    precision
        What float32 models are computed in, as :meth:`Backend.precisions` names it.
    name
        In a few words, for reports.
    """

    backend: Backend
    precision: str
    name: str


@runtime_checkable
class HasForms(Protocol):
    """A backend with several ways to run a network, of which nobody knows which is the fastest.

    They are tried on the computer itself (``device/forms.py``), and none has to work.
    """

    def forms(self) -> tuple[Form, ...]:
        """Return them, first those that are expected to be fast."""
        ...


@dataclass(frozen=True)
class Variant:
    """What there is to choose from: a backend in one of its precisions on one of its devices.

    ``form`` is empty for the ordinary way to run a network there.
    """

    backend: Backend
    precision: str = "fp32"
    index: int = 0
    form: str = ""

    @property
    def device(self) -> str:
        """What ``inference.device`` would have to be."""
        return f"{self.backend.name}:{self.index}" if self.index else self.backend.name

    def __str__(self) -> str:
        return f"{self.device} {self.precision}" + (f" ({self.form})" if self.form else "")


# Words by which the runtimes report that memory ran out; none of them has an exception of its own.
_MEMORY_WORDS = ("out of memory", "alloc", "not enough memory", "cuda_error_out_of_memory")


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether a runtime's own error says that memory ran out."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(word in said for word in _MEMORY_WORDS)


def tile_failure(shape: tuple[int, ...], error: BaseException) -> RuntimeFailureError:
    """Return the error to raise for a runtime's own, in one line."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    kind = DeviceMemoryError if ran_out_of_memory(error) else RuntimeFailureError
    return kind(
        f"the model failed on a tile of {shape} ({reason})",
        None,
        "set a smaller inference.max_tile_mvoxel if memory ran out",
    )
