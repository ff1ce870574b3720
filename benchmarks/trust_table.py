"""How far is each number off that is stated without a truth? One table of all of them.

    python benchmarks/trust_table.py measure numbers.jsonl --judges 3 --peak 30 --peak 100
    python benchmarks/trust_table.py measure numbers.jsonl --clean golgi.tif --peak 100
    python benchmarks/trust_table.py print numbers.jsonl

``measure`` photographs stacks of kinds that no training drew (``judges.py``), and real ones taken
as truth, and appends a line for each, and for each way of telling the camera: as it is, wrong, and
with an sCMOS sensor whose pixels differ. ``print`` makes the table in docs/explanation/trust.md.
What is stated lies within its own stated error, or it does not; both are counted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import judges
import numpy as np
from live_restore_export.simulator.simulate import expected_electrons
from numpy.typing import NDArray
from trust import BACKGROUND_FRACTION, CAMERA, TOLD, camera_as, clean_signal, true_bias

from live_restore.inference.error_bar_tables import table_for
from live_restore.inference.image.error_bars import STANDARD_ERRORS
from live_restore.inference.image.flux import flux_bias
from live_restore.inference.image.less_light import SHARES
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.model import InferenceSettings
from live_restore.simulation.camera import Camera
from live_restore.simulation.quality import psnr
from live_restore.trust.snr import estimate_snr

PIXEL_MAPS = "pixel maps"
Numbers = dict[str, Any]


class Remembering:
    """A session that runs the same tile once, however often it is asked: cameras share results."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._known: dict[int, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def forget(self) -> None:
        self._known.clear()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        key = crc32(np.ascontiguousarray(batch))
        if key not in self._known:
            self._known[key] = self._session.run(batch)
        return self._known[key].copy()


def cameras(shape_yx: tuple[int, int]) -> Iterator[tuple[str, Camera, CameraSettings]]:
    """Yield what a camera is, and what is told of it."""
    for told in TOLD:
        yield told, CAMERA, camera_as(told)
    uneven = CAMERA.with_pixel_maps(shape_yx, np.random.default_rng(5))
    assert uneven.pixels is not None
    rms = float(np.sqrt(np.mean(uneven.pixels.read_noise**2)))
    noise_e = camera_as("right").read_noise_e * rms
    yield PIXEL_MAPS, uneven, camera_as("right").model_copy(update={"read_noise_e": noise_e})


def measured(
    model: Any, name: str, signal: NDArray[np.float32], peak_e: float
) -> Iterator[Numbers]:
    """Yield what is stated of a stack, and what is true, for every camera."""
    expected = expected_electrons(signal, peak_e, BACKGROUND_FRACTION)
    truth = CAMERA.noiseless_adu(expected)
    plain = Restorer(model, InferenceSettings(), "camera-float")
    table = None if model.card.name != "fast" else table_for(model.card)
    costs: dict[str, list[float]] = {}
    for told, camera, settings in cameras(signal.shape[1:]):
        rng = np.random.default_rng(int(peak_e))
        raw = camera.expose(expected, rng)
        restorer = Restorer(
            model, InferenceSettings(), "camera-float", settings, "keep", None, 1, 1,
            error_bars=table,
        )  # fmt: skip
        done = restorer.restore(raw)
        image = np.asarray(done.volume, np.float32)
        kind = PIXEL_MAPS if told == PIXEL_MAPS else "right"
        if kind not in costs:
            full, costs[kind] = psnr(plain.restore(raw).volume, truth), []
            for share in SHARES:
                less = plain.restore(camera.expose(share * expected, rng)).volume
                less = (less - CAMERA.offset_adu) / share + CAMERA.offset_adu
                costs[kind].append(full - psnr(less, truth))
        assert done.gain is not None
        assert done.less_light is not None
        squares = [float(np.mean((each - truth) ** 2)) for each in (raw, image)]
        brightness = flux_bias(raw, image, done.defects)
        top, low = np.percentile(expected, (99.9, 5))
        snr = estimate_snr(raw)
        line = {
            "model": model.card.name, "stack": name, "peak_e": peak_e, "told": told,
            "gain": [10 * np.log10(squares[0] / squares[1]), done.gain.db, done.gain.error_db],
            "gain_unknown": done.gain.unknown_because,
            "gain_at_least": done.gain.at_least_db,
            "noise_as_set": done.gain.noise_as_set,
            "snr": [
                float((top - low) / np.sqrt(top + CAMERA.read_noise_e**2)),
                None if snr is None else snr.ratio,
            ],
            "brightness": [
                true_bias(image, truth, peak_e), brightness.bias_percent, brightness.error_percent
            ],
            "less_light": [
                [share, cost, level.cost_db]
                for share, cost, level in zip(
                    SHARES, costs[kind], done.less_light.levels, strict=False
                )
            ],
            "defects": sum(len(each.pixels) + len(each.voxels) for each in done.defects),
        }  # fmt: skip
        if done.error_bars is not None and done.error_bars.standard_error is not None:
            bars = done.error_bars.standard_error
            inside = (
                np.abs(image - truth)[np.isfinite(bars)]
                <= STANDARD_ERRORS * bars[np.isfinite(bars)]
            )
            line["covered"] = 100 * float(inside.mean())
        yield line


def measure(options: argparse.Namespace) -> None:
    """Append a line for each stack, light and camera."""
    loaded = load_model(find_model(options.model), "cpu", 2)
    session = Remembering(loaded.session)
    model = replace(loaded, session=session)
    stacks = [(f"judge {kind}", judges.signal(kind, options.judges)) for kind in options.kind]
    stacks += [(f"real {path.stem}", clean_signal(path)) for path in options.clean]
    for name, signal in stacks:
        for peak_e in options.peak:
            with options.file.open("a", encoding="utf-8") as file:
                for line in measured(model, name, signal, peak_e):
                    file.write(json.dumps(line) + "\n")
                    print(line["stack"], peak_e, line["told"], line["gain_unknown"], flush=True)
            session.forget()


def apart(pairs: list[tuple[float, float, float]]) -> str:
    """Return how far what is stated is from the truth: (true, stated, allowed)."""
    if not pairs:
        return "none stated"
    off = [abs(stated - true) for true, stated, _ in pairs]
    inside = sum(abs(stated - true) <= allowed for true, stated, allowed in pairs)
    return f"{len(pairs)} stated, {inside} within; median {np.median(off):.1f}, most {max(off):.1f}"


def gain_cell(lines: list[Numbers]) -> str:
    found = [tuple(line["gain"]) for line in lines if line["gain"][1] is not None]
    bounds = [
        (line["gain"][0], line["gain_at_least"])
        for line in lines
        if not line["gain_unknown"] and line["gain"][1] is None
    ]
    true = sum(db > bound for db, bound in bounds)
    more = f'; {len(bounds)} as "more than", {true} true' if bounds else ""
    return apart(found) + more


def brightness_cell(lines: list[Numbers]) -> str:
    return apart([tuple(each["brightness"]) for each in lines if each["brightness"][1] is not None])


def less_light_cell(lines: list[Numbers]) -> str:
    pairs = [
        (cost, said) for each in lines for _, cost, said in each["less_light"] if said is not None
    ]
    if not pairs:
        return "none stated"
    over = [said - cost for cost, said in pairs]
    careful = sum(each >= 0 for each in over)
    within = sum(abs(each) <= 0.7 for each in over)
    return (
        f"{len(pairs)} stated, {careful} careful, {within} within 0.7; "
        f"{min(over):+.1f} to {max(over):+.1f}"
    )


def covered_cell(lines: list[Numbers]) -> str:
    found = [each["covered"] for each in lines if "covered" in each]
    if not found:
        return "none stated"
    return (
        f"{len(found)} stated, hold {np.mean(found):.0f} % ({min(found):.0f} to {max(found):.0f})"
    )


def snr_cell(lines: list[Numbers]) -> str:
    pairs = [each["snr"] for each in lines if each["snr"][1] is not None]
    off = [100 * (stated / true - 1) for true, stated in pairs]
    return f"{len(off)} stated; {min(off):+.0f} to {max(off):+.0f} %" if off else "none stated"


CELLS: dict[str, Callable[[list[Numbers]], str]] = {
    "gain over raw (dB)": gain_cell,
    "less light (dB)": less_light_cell,
    "brightness (%)": brightness_cell,
    "error bars of 90 %": covered_cell,
    "signal to noise": snr_cell,
    "defects where there are none": lambda lines: f"{sum(each['defects'] for each in lines)}",
}


def print_table(options: argparse.Namespace) -> None:
    """Print a table in Markdown."""
    lines = [json.loads(line) for line in options.file.read_text(encoding="utf-8").splitlines()]
    for model in dict.fromkeys(line["model"] for line in lines):
        print(f"\n| `{model}`, what is told of the camera | stacks | " + " | ".join(CELLS) + " |")
        print("|---" * (len(CELLS) + 2) + "|")
        for kind in ("judge", "real"):
            for told in [*TOLD, PIXEL_MAPS]:
                chosen = [
                    each for each in lines
                    if each["model"] == model and each["told"] == told
                    and each["stack"].startswith(kind)
                ]  # fmt: skip
                if chosen:
                    cells = " | ".join(cell(chosen) for cell in CELLS.values())
                    print(f"| {kind}, {told} | {len(chosen)} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.set_defaults(run=measure)
    measuring.add_argument("--judges", type=int, default=0, help="number of the stack of each kind")
    measuring.add_argument("--kind", action="append", choices=judges.KINDS, help="judge (each)")
    measuring.add_argument(
        "--peak", type=float, action="append", help="photo-electrons at the peak"
    )
    measuring.add_argument("--clean", type=Path, action="append", default=[], help="real stack")
    measuring.add_argument("--model", default="fast", help="bundled name or ONNX file")
    printing = commands.add_parser("print")
    printing.set_defaults(run=print_table)
    for each in (measuring, printing):
        each.add_argument("file", type=Path)
    options = parser.parse_args()
    if options.run is measure:
        options.peak = options.peak or [30.0, 100.0]
        options.kind = options.kind or ([] if options.clean else list(judges.KINDS))
    options.run(options)


if __name__ == "__main__":
    main()
