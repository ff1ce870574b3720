"""The report beside every result: what was done, with what, how well it is known."""

from __future__ import annotations

import datetime
import json
import re
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from live_restore._version import __version__
from live_restore.inference.image.intensity import Histogram, percentiles
from live_restore.inference.load import Model
from live_restore.inference.model.envelope import unknown_voxel, voxel_doubt
from live_restore.inference.restorer import Restored
from live_restore.stack import FileStacks, StackIndex, Units, Volume
from live_restore.trust.snr import SignalToNoise, estimate_snr

REPORT_FORMAT = "live-restore-report/1"
# Below it rounding (0.29 grey values rms) cost a good network half a decibel and more, at a third
# of it three (docs/decisions/0012-compared-before-rounding.md).
_COARSE_NOISE_ADU = 15.0
_NUMBER = re.compile(r"\d[\d.e+-]*")


@dataclass(frozen=True)
class StackOutcome:
    """One stack of a result: what becomes of its voxels, and the line in the report.

    ``restored`` is ``None`` where the stack was left as it is; ``reason`` says why.
    """

    index: StackIndex
    raw: Volume
    restored: Restored | None
    model: Model | None
    reason: str = ""
    read_s: float = 0.0

    @property
    def volume(self) -> Volume:
        """The voxels to write, (Z, Y, X)."""
        return self.raw if self.restored is None else self.restored.volume


def image_statistics(volume: Volume) -> dict[str, float]:
    """Return what a histogram tells about a stack, in camera units (ADU)."""
    ranks = (0.0, 1.0, 50.0, 99.9, 100.0)
    if volume.dtype in (np.uint8, np.uint16):
        histogram = Histogram.of(volume)
        ranked, moments = histogram.percentiles(ranks), histogram.mean_and_std()
    else:
        ranked = percentiles(volume, ranks)
        mean, std = volume.mean(dtype=np.float64), volume.std(dtype=np.float64)
        moments = float(mean), float(std)
    names = ("min", "p1", "median", "p99.9", "max", "mean", "std")
    return dict(zip(names, (*ranked, *moments), strict=True))


@dataclass
class Report:
    """Collects the report of one result while its stacks are written.

    ``warnings`` are about its stacks; ``device_warnings`` hold for every result of a run, and are
    told on the screen once. ``notes`` say what could not be compared, where rounding is coarse, and
    what sharpening means. A restored stack is *doubtful* where something about it lies outside what
    the model was shown to do well.
    """

    file_stacks: FileStacks
    recipe: str
    settings_digest: str
    result_name: str
    units: Units = "camera"
    stacks: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    device_warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, outcome: StackOutcome, channel_name: str) -> None:
        """Add one stack."""
        line: dict[str, Any] = {
            "position": outcome.index.position,
            "time": outcome.index.time,
            "channel": outcome.index.channel,
            "channel_name": channel_name,
            "restored": outcome.restored is not None,
            "raw_crc32": zlib.crc32(np.ascontiguousarray(outcome.raw).data),
            "before": image_statistics(outcome.raw),
        }
        snr = estimate_snr(outcome.raw)
        line["signal_to_noise"] = None if snr is None else asdict(snr)
        self._count("read", outcome.read_s)
        if outcome.restored is None or outcome.model is None:
            line["reason"] = outcome.reason
            self.warnings.append(f"{outcome.index.label}: left as it is: {outcome.reason}")
        else:
            self._add_restored(line, outcome.restored, outcome.model)
            if outcome.restored.clipped_voxels:
                self.warnings.append(
                    f"{outcome.index.label}: {outcome.restored.clipped_voxels} voxels lay outside "
                    f"{self.file_stacks.dtype} and were clipped"
                )
            self._note_rounding(outcome.restored, snr)
            line["doubts"] = self._doubts(outcome.restored, outcome.model, snr)
            self.warnings += [f"{outcome.index.label}: {doubt}" for doubt in line["doubts"]]
        self.stacks.append(line)

    def _add_restored(self, line: dict[str, Any], restored: Restored, model: Model) -> None:
        line["model"] = model.card.name
        line["intensity_scale_adu"] = [restored.scale.low_adu, restored.scale.high_adu]
        line["clipped_voxels"] = restored.clipped_voxels
        line["device"] = model.session.device.name
        line["tiles"] = {"count": restored.tile_count, "shape_zyx": list(restored.tile_zyx)}
        if restored.tiles_reduced:
            line["tiles"]["reduced_because"] = restored.tiles_reduced
        line["seconds"] = {k: round(v, 4) for k, v in restored.seconds.items()}
        if restored.given_back is not None:
            line["given_back"] = {k: round(v, 4) for k, v in asdict(restored.given_back).items()}
        line["after"] = image_statistics(restored.volume)
        for stage, seconds in restored.seconds.items():
            self._count(stage, seconds)
        self.models[model.card.name] = {
            "version": model.card.version,
            "sha256": model.digest,
            "weights_sha256": model.card.weights_sha256,
            "precision": model.card.precision,
            "percentiles": list(model.card.percentiles),
            "device": asdict(model.session.device),
        }
        note = model.card.sharpening_note()
        if note:
            self._note(note)
        warning = model.session.device.warning
        if warning and warning not in self.device_warnings:
            self.device_warnings.append(warning)

    def _note_rounding(self, restored: Restored, snr: SignalToNoise | None) -> None:
        """Note where whole grey values are coarse for what was restored."""
        rounded = self.units == "camera" and restored.volume.dtype.kind in "iu"
        if rounded and snr is not None and snr.noise_adu < _COARSE_NOISE_ADU:
            self._note(
                "the noise is a few grey values only, so that rounding to whole ones costs "
                'accuracy: set output.units = "camera-float" to keep the fractions'
            )

    def _note(self, note: str) -> None:
        """Say it once per result."""
        if note not in self.notes:
            self.notes.append(note)

    def _doubts(self, restored: Restored, model: Model, snr: SignalToNoise | None) -> list[str]:
        """Return what makes a restored stack doubtful; note what could not be compared."""
        card, voxel = model.card, self.file_stacks.voxel
        note = unknown_voxel(voxel, card.trained_voxel_um)
        if note is not None:
            self._note(note)
        found = [
            None if snr is None or card.envelope is None else card.envelope.doubt(snr.ratio),
            voxel_doubt(voxel, card.trained_voxel_um),
        ]
        return [*(doubt for doubt in found if doubt is not None), *restored.warnings]

    def doubt(self) -> str:
        """Return in one line why the result is doubtful, or "" where nothing is."""
        return told_doubt(self.stacks)

    def _count(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def to_json(self, **times: float) -> str:
        """Return the report as JSON; ``times`` are further seconds to state."""
        file_stacks = self.file_stacks
        written = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        return json.dumps(
            {
                "format": REPORT_FORMAT,
                "software": f"live-restore {__version__}",
                "written": written,
                "source": {
                    "name": file_stacks.path.name,
                    "size": file_stacks.fingerprint.size,
                    "mtime_ns": file_stacks.fingerprint.mtime_ns,
                    "axes": file_stacks.axes,
                    "positions": file_stacks.positions,
                    "times": file_stacks.times,
                    "channels": file_stacks.channels,
                    "shape_zyx": list(file_stacks.shape_zyx),
                    "dtype": str(file_stacks.dtype),
                    "voxel_um": {
                        "z": file_stacks.voxel.z_um,
                        "y": file_stacks.voxel.y_um,
                        "x": file_stacks.voxel.x_um,
                    },
                    "notes": list(file_stacks.notes),
                },
                "result": self.result_name,
                "units": self.units,
                "recipe": self.recipe,
                "settings_digest": self.settings_digest,
                "models": self.models,
                "seconds": {k: round(v, 4) for k, v in {**self.seconds, **times}.items()},
                "warnings": [*self.device_warnings, *self.warnings],
                "notes": self.notes,
                "stacks": self.stacks,
            },
            indent=1,
            ensure_ascii=False,
        )


def told_doubt(stacks: list[dict[str, Any]]) -> str:
    """Return in one line why stacks of a report are doubtful, or "" where none is.

    Examples
    --------
    >>> told_doubt([{"doubts": ["dark"]}, {"doubts": []}, {"doubts": ["dark", "odd"]}])
    '2 of 3 stacks: dark; 1 of 3 stacks: odd'
    """
    # Numbers differ from stack to stack; the kinds are told apart by what follows them.
    kinds: dict[str, list[str]] = {}
    for line in stacks:
        for doubt in line.get("doubts", ()):
            kinds.setdefault(_NUMBER.sub("", doubt), []).append(doubt)
    if len(stacks) == 1:
        return "; ".join(found[0] for found in kinds.values())
    return "; ".join(
        f"{len(found)} of {len(stacks)} stacks: {found[0]}" for found in kinds.values()
    )
