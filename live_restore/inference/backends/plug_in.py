"""Backends of other packages: found by entry point, loaded when asked for, kept from breaking ours.

A package adds a device by an entry point in its own ``pyproject.toml``, the device's name and what
makes its :class:`~live_restore.inference.backends.backend.Backend`::

    [project.entry-points."live_restore.backends"]
    npu = "live_restore_npu:Npu"

``inference.device`` may then be "npu", and "auto" measures and checks it like every other device.
``live_restore.testing.backends`` has the tests that such a backend should pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np

from live_restore.errors import DeviceError, InferenceError, ModelError
from live_restore.inference.backends.backend import (
    Backend,
    Limits,
    ModelSource,
    TakesCounts,
    tile_failure,
)
from live_restore.inference.backends.session import (
    Counts,
    CountsSession,
    Device,
    Floats,
    InCounts,
    Scale,
    Session,
    Shape5,
)
from live_restore.settings.devices import BACKEND_GROUP, installed_backends, is_device_name

_REMEDY = "update or uninstall it"
_METHODS = ("obstacle", "precisions", "version", "open")


def plug_ins(taken: Iterable[str]) -> tuple[Backend, ...]:
    """Return the backends of other packages, by name.

    One that cannot be used is among them, and its obstacle says why: nothing is left out in
    silence.

    Parameters
    ----------
    taken
        Names of backends that there are already.
    """
    try:
        found = installed_backends()
    except ValueError as error:
        return (PlugIn("plug-ins", "", _unusable, f"{error}; reinstall that package"),)
    backends = []
    names = {"auto", *taken}
    for entry in sorted(found, key=lambda each: (each.name, each.value)):
        package = entry.dist.name if entry.dist is not None else entry.module
        if entry.name in names or not is_device_name(entry.name):
            why = "is taken" if entry.name in names else "is none: a-z, 0-9 and - are allowed"
            name = f"{entry.name} of {package}"
            obstacle = f'package {package}: the name "{entry.name}" {why}; {_REMEDY}'
            backends.append(PlugIn(name, package, _unusable, obstacle))
            continue
        names.add(entry.name)
        backends.append(PlugIn(entry.name, package, _maker(entry)))
    return tuple(backends)


class PlugIn:
    """A backend of another package.

    Whatever that package raises becomes an obstacle or an error of this project that names it, so
    that the choice of a device goes on to the next one.

    Parameters
    ----------
    name
        As in ``inference.device``.
    package
        Who to blame.
    make
        Loads the backend; called when an obstacle is asked for first.
    obstacle
        Why it is not even loaded.
    """

    def __init__(
        self, name: str, package: str, make: Callable[[], Any], obstacle: str | None = None
    ) -> None:
        self.name = name
        self.on_cpu = True
        self._package = package
        self._make = make
        self._obstacle = obstacle
        self._backend: Any = None
        self._precisions: tuple[str, ...] = ()
        self._version = ""

    def obstacle(self) -> str:
        """Return why it cannot be tried, which includes that it is broken."""
        if self._obstacle is None:
            try:
                self._obstacle = self._load()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - other people's code
                self._obstacle = self._blame(error)
        return self._obstacle

    def precisions(self) -> tuple[str, ...]:
        """Return what it computes float32 models in."""
        return self._precisions

    def version(self) -> str:
        """Return the package, the runtime and its version."""
        return self._version

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> Session:
        """Return a session for tiles of one shape."""
        if why_not := self.obstacle():
            raise DeviceError(why_not)
        return _PlugInSession(
            *self._opened(lambda: self._backend.open(source, shape, precision, index, limits))
        )

    def open_counts(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> CountsSession:
        """Return a session for tiles of grey values, where the package has any."""
        if why_not := self.obstacle():
            raise DeviceError(why_not)
        if not isinstance(self._backend, TakesCounts):
            raise DeviceError(f"package {self._package} takes no grey values")
        backend = self._backend
        return _PlugInCountsSession(
            *self._opened(lambda: backend.open_counts(source, shape, precision, index, limits))
        )

    def _opened(self, make: Callable[[], Any]) -> tuple[Any, Device]:
        """Return a session of the package and its device; whatever it raises becomes ours."""
        try:
            session = make()
            device = session.device
        except (DeviceError, ModelError, InferenceError):
            raise
        except (Exception, SystemExit) as error:
            raise DeviceError(self._blame(error)) from error
        if not isinstance(device, Device):
            raise DeviceError(f"package {self._package}: its session names no device; {_REMEDY}")
        return session, device

    def _load(self) -> str:
        """Load the backend and return its own obstacle."""
        self._backend = backend = self._make()
        lacks = [name for name in _METHODS if not callable(getattr(backend, name, None))]
        if lacks or not isinstance(getattr(backend, "on_cpu", None), bool):
            raise TypeError(f"it has no {lacks[0] if lacks else 'on_cpu'}")
        if backend.name != self.name:
            raise ValueError(f'it is called "{backend.name}", its entry point "{self.name}"')
        self.on_cpu = backend.on_cpu
        if why_not := str(backend.obstacle() or ""):
            return why_not
        self._precisions = tuple(map(str, backend.precisions()))
        self._version = f"{self._package}: {backend.version()}"
        return ""

    def _blame(self, error: BaseException) -> str:
        reason = (str(error).strip() or "no reason given").splitlines()[0][:160]
        return (
            f"package {self._package} does not work ({type(error).__name__}: {reason}); {_REMEDY}"
        )


class _PlugInSession:
    """A session of another package."""

    def __init__(self, session: Any, device: Device) -> None:
        self.device = device
        self._session = session

    def run(self, tile: Floats) -> Floats:
        """Run one tile."""
        with _failures_of(tile.shape):
            return np.asarray(self._session.run(tile), np.float32)


class _PlugInCountsSession:
    """The same, for tiles of grey values."""

    def __init__(self, session: Any, device: Device) -> None:
        self.device = device
        self._session = session

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts:
        """Run one tile."""
        with _failures_of(tile.shape):
            found = self._session.run_counts(tile, scale)
            return InCounts(
                np.asarray(found.volume, np.uint16), found.clipped_voxels, found.not_finite
            )


@contextmanager
def _failures_of(shape: tuple[int, ...]) -> Iterator[None]:
    """Make whatever a package raises over a tile an error of ours."""
    try:
        yield
    except InferenceError:
        raise
    except (Exception, SystemExit) as error:
        raise tile_failure(shape, error) from error


def _maker(entry: EntryPoint) -> Callable[[], Any]:
    return lambda: entry.load()()


def _unusable() -> Any:
    raise AssertionError(f"what has an obstacle in {BACKEND_GROUP} is not loaded")
