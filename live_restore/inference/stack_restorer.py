"""What restores stacks with one model, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from live_restore.inference.model.model import Model
from live_restore.inference.restored import Restored
from live_restore.settings.camera import CameraSettings
from live_restore.stack import Mask, Volume


class StackRestorer(Protocol):
    """Here it is a ``Restorer``, for other computers ``cluster.remote.RemoteRestorer``."""

    @property
    def model(self) -> Model:
        """The model; its device is the one that restored this thread's last stack."""
        ...

    def with_camera(
        self, camera: CameraSettings | None, bad_pixels: Mask | None = None
    ) -> StackRestorer:
        """Return this restorer for the stacks of a camera; see ``Restorer.with_camera``."""
        ...

    def restore(self, stack: Volume, cancelled: Callable[[], bool] = lambda: False) -> Restored:
        """Restore one stack; see ``Restorer.restore``."""
        ...
