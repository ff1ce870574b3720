"""Raw and restored stacks as layers of napari, which is only imported here."""

from __future__ import annotations

from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QTimer

from live_restore.errors import UsageError
from live_restore.overview.run import Run
from live_restore.page.layers import LazyStacks, Place, places_of
from live_restore.page.pixels import Pixels, Side

_LOOK_MS = 1000


class NapariView:
    """Layers of one series in a viewer, and what came to it since.

    Parameters
    ----------
    viewer
        Of napari.
    run, pixels
        What is shown, and where it comes from.
    series
        Which acquisition; ``None``: the one with the newest result, chosen once.

    Raises
    ------
    UsageError
        There is nothing restored to show.
    """

    def __init__(self, viewer: Any, run: Run, pixels: Pixels, series: str | None) -> None:
        self._viewer = viewer
        self._run = run
        self._pixels = pixels
        places = places_of(run.shown(), series)
        if not places:
            raise UsageError(
                "has nothing restored to show", run.root / (series or ""),
                "see live-restore status; --series names a folder below the watched one",
            )  # fmt: skip
        self._series = places[0].series
        self._show(places)

    def look(self) -> None:
        """Show what has been restored since."""
        if self._run.look():
            self._run.finish_reading()
            self._show(places_of(self._run.shown(), self._series))

    def _show(self, places: list[Place]) -> None:
        sides: tuple[Side, ...] = ("raw", "restored")
        for place in places:
            for side in sides:
                name = f"{place.name} {side}"
                data = LazyStacks(place, self._pixels, side)
                if name in self._viewer.layers:
                    layer = self._viewer.layers[name]
                    if layer.data.shape != data.shape:
                        layer.data = data
                    continue
                # One contrast for raw and restored, or they could not be compared.
                raw = LazyStacks(place, self._pixels, "raw")[0].astype(np.float32)
                low, high = np.percentile(raw, (0.3, 99.8))
                self._viewer.add_image(
                    data, name=name, scale=place.scale_um, multiscale=False, blending="additive",
                    contrast_limits=(float(low), float(max(high, low + 1))),
                )  # fmt: skip


def show(run: Run, pixels: Pixels, series: str | None) -> None:
    """Open a window, and follow the run until it is closed."""
    viewer = napari.Viewer(title=f"live-restore · {run.root.name}")
    view = NapariView(viewer, run, pixels, series)
    timer = QTimer()
    timer.timeout.connect(view.look)
    timer.start(_LOOK_MS)
    napari.run()
    timer.stop()
