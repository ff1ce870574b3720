"""One figure of an envelope: a column per sweep, raw, best Gaussian and restored in each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from live_restore.inference.model.envelope import Envelope
from live_restore_export.limits.measure import Measured
from live_restore_export.limits.sweeps import SWEEPS
from live_restore_export.limits.verdict import Point, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of Okabe and Ito (2008), which colour-blind people can distinguish.
_KINDS = (("restored", "#0072B2"), ("gaussian", "#D55E00"), ("raw", "#555555"))
_NAMES = {"restored": "restored", "gaussian": "best Gaussian", "raw": "raw"}
_HELPS, _LIGHT_GREY = "#d9ead9", "#dddddd"
_MEASURES = (
    ("psnr_db", "nearness to the truth\nPSNR (dB)"),
    ("resolution_um", "lateral resolution (um)\nlower is finer"),
)
_LABELS = {
    "photons": "photo-electrons at the peak",
    "background": "background / peak",
    "blur": "width of the PSF (x)",
    "voxel": "voxel size / trained (x)",
    "density": "overlaid scenes",
    "neighbour": "bright neighbour (x peak)",
}


def draw_limits(measured: Sequence[Measured], envelope: Envelope, title: str) -> bytes:
    """Return the figure as PNG, 1200 x 640 pixels."""
    from matplotlib.figure import Figure

    present = [s for s in SWEEPS if any(m.sweep == s.name for m in measured)]
    figure = Figure(figsize=(12, 6.4), dpi=100, facecolor="white")
    grid = figure.subplots(
        len(_MEASURES), len(present), sharex="col", sharey="row", squeeze=False,
        gridspec_kw={"left": 0.075, "right": 0.985, "top": 0.77, "bottom": 0.11,
                     "hspace": 0.12, "wspace": 0.12},
    )  # fmt: skip
    for row, (measure, label) in enumerate(_MEASURES):
        for column, sweep in enumerate(present):
            axes = grid[row][column]
            found = points(measured, sweep.name)
            _panel(axes, found, measure, envelope.limits[sweep.name].helps)
            if row == 0 and sweep.light:
                _write_snr(axes, found)
            if row == 0:
                axes.set_title(sweep.quantity.split(" at ")[0], fontsize=11, fontweight="bold",
                               loc="left", pad=16)  # fmt: skip
            else:
                axes.set_xlabel(_LABELS[sweep.name], fontsize=9.5)
        grid[row][0].set_ylabel(label, fontsize=9.5)
    grid[1][0].set_yscale("log")
    _plain_ticks(grid[1][0])
    snr = "at no signal-to-noise ratio" if envelope.snr is None else (
        f"at signal-to-noise ratios of {envelope.snr[0]:.3g} to {envelope.snr[1]:.3g}, "
        "estimated on the raw stack"
    )  # fmt: skip
    figure.text(0.012, 0.945, f"{title}: where restoration helps", fontsize=14, fontweight="bold")
    figure.text(0.012, 0.903, f"Shown to help {snr}", fontsize=11)
    x = 0.012
    for kind, colour in _KINDS:
        figure.text(x, 0.86, f"— {_NAMES[kind]}", fontsize=11, color=colour, fontweight="bold")
        x += 0.03 + 0.0085 * len(_NAMES[kind])
    figure.text(
        x, 0.86, " the model helps here ", fontsize=10.5, backgroundcolor=_HELPS, color="#333333"
    )
    figure.text(
        x + 0.17, 0.86, "lines: mean; dots: single restored stacks; all else in the middle: 30 e-, "
        "background 0.1", fontsize=9, color="#555555",
    )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panel(
    axes: Axes, found: Sequence[Point], measure: str, helps: tuple[float, float] | None
) -> None:
    values = [p.value for p in found]
    axes.set_xscale("log")
    if helps is not None:
        first, last = values.index(helps[0]), values.index(helps[1])
        axes.axvspan(_edge(values, first, -1), _edge(values, last, 1), color=_HELPS, lw=0)
    for kind, colour in _KINDS:
        axes.plot(values, [p.mean(kind, measure) for p in found], color=colour, marker="o",
                  markersize=3.5, linewidth=2 if kind == "restored" else 1.4)  # fmt: skip
    for point in found:
        singles = [getattr(stack.restored, measure) for stack in point.stacks]
        axes.scatter([point.value] * len(singles), singles, s=7, color=_KINDS[0][1], alpha=0.35,
                     linewidths=0)  # fmt: skip
    axes.set_xlim(_edge(values, 0, -1), _edge(values, len(values) - 1, 1))
    axes.set_xticks(_thinned(values), [f"{v:g}" for v in _thinned(values)])
    axes.minorticks_off()
    axes.grid(axis="y", color=_LIGHT_GREY, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, length=2.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _write_snr(axes: Axes, found: Sequence[Point]) -> None:
    """Write above a panel what the daemon would estimate on these stacks."""
    shown = _thinned([p.value for p in found])
    for point in found:
        if point.value in shown:
            text = f"{point.snr:.2g}" if point.value != shown[0] else f"SNR {point.snr:.2g}"
            axes.text(
                point.value, 1.02, text, transform=axes.get_xaxis_transform(), ha="center",
                va="bottom", fontsize=7.5, color="#555555",
            )  # fmt: skip


def _edge(values: Sequence[float], index: int, side: int) -> float:
    """Return a value a little beyond one, so that its marker lies inside; no claim goes farther."""
    return float(values[index] * (values[-1] / values[0]) ** (0.04 * side))


def _thinned(values: Sequence[float]) -> list[float]:
    """Return the values that have room for a label: at most six, the first among them."""
    return list(values[:: -(-len(values) // 6)])


def _plain_ticks(axes: Axes) -> None:
    low, high = axes.get_ylim()
    shown = [v for v in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= v <= high]
    axes.set_yticks(shown, [f"{v:g}" for v in shown])
    axes.minorticks_off()
