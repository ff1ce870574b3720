"""The report beside every result: what was done, with what, how well it is known. Writes only."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from live_restore._version import __version__
from live_restore.files.publish import publish_text
from live_restore.inference.backends.session import Device
from live_restore.inference.cameras import CameraChoice
from live_restore.inference.model.model import Model
from live_restore.inference.restored import Restored
from live_restore.outputs.annotations import Pairs, about_stacks, about_the_result
from live_restore.outputs.output import FinishedStack, Published, ResultPath, ResultRequest
from live_restore.outputs.provenance import EarlierReport
from live_restore.outputs.recorded import planes_in_report, source_in_report
from live_restore.outputs.report_file import REPORT_FORMAT
from live_restore.outputs.trust_lines import brightness_in_report, less_light_in_report
from live_restore.stack import StackIndex
from live_restore.trust.doubt_lines import in_one_line

SOFTWARE = f"live-restore {__version__}"
_LEFT_SHOWN = 8


@dataclass
class Report:
    """Collects the report of one result while its stacks are written.

    ``warnings`` are about its stacks; ``device_warnings`` hold for every result of a run, and are
    shown on the screen once.
    """

    request: ResultRequest
    result_name: str
    bars_name: str = ""
    stacks: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    device_warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    left: dict[StackIndex, str] = field(default_factory=dict)
    places: dict[StackIndex, int] = field(default_factory=dict)
    added: int = 0
    added_voxels: int = 0
    less_light: str = ""

    @classmethod
    def going_on(cls, request: ResultRequest, result_name: str, earlier: EarlierReport) -> Report:
        """Return the report of a result that has grown so far, with what it said of that."""
        return cls(
            request,
            result_name,
            stacks=list(earlier.stacks.values()),
            places={index: place for place, index in enumerate(earlier.stacks)},
            models=dict(earlier.models),
            warnings=list(earlier.warnings),
            notes=list(earlier.notes),
            seconds=dict(earlier.seconds),
        )

    def leave_out(self, left: Mapping[StackIndex, str]) -> None:
        """Add what the result does not hold of the raw file, in the place of what was left before.

        A warning of each is for the screen; a thousand are not.
        """
        self.left = dict(left)
        shown = [f"{index.label} is left out: {why}" for index, why in left.items()]
        self.warnings = [each for each in self.warnings if " is left out: " not in each]
        self.warnings += shown[:_LEFT_SHOWN]
        if len(shown) > _LEFT_SHOWN:
            more = len(shown) - _LEFT_SHOWN
            self.warnings.append(f"... is left out: {more} stacks more; the report names them")

    def __post_init__(self) -> None:
        self.notes += self.request.file_stacks.assumptions

    def add(self, stack: FinishedStack) -> None:
        """Add one stack."""
        index, trust = stack.index, stack.trust
        snr = trust.signal_to_noise
        # Which stack is meant goes without saying where there is only one.
        label = f"{index.label}: " if self.request.file_stacks.stack_count > 1 else ""
        line: dict[str, Any] = {
            "position": index.position,
            "time": index.time,
            "channel": index.channel,
            "channel_name": self.request.file_stacks.channel_name(index.channel),
            "restored": stack.restored is not None,
            "raw_crc32": trust.raw_crc32,
            "before": trust.before,
            "signal_to_noise": None if snr is None else asdict(snr),
        }
        if snr is not None and not snr.saturated:
            del line["signal_to_noise"]["saturated_share"]
        if planes := planes_in_report(self.request.file_stacks, index):
            line["planes"] = planes
        self._count("read", stack.read_s)
        if stack.restored is None or stack.model is None:
            line["reason"] = stack.reason
            self.warnings.append(f"{label}left as it is: {stack.reason}")
        else:
            self._add_restored(line, stack.restored, stack.model)
            self._add_camera(line, stack.camera)
            self._add_bars(line, stack.restored)
            line |= brightness_in_report(trust)
            line["after"] = trust.after
            line["doubts"] = list(trust.doubts)
        self.warnings += [f"{label}{each}" for each in (*trust.warnings, *trust.doubts)]
        self.notes += [note for note in trust.notes if note not in self.notes]
        # Of a result that grows, a stack that has changed since is restored once more.
        place = self.places.setdefault(index, len(self.stacks))
        self.stacks[place : place + 1] = [line]
        self.added += 1
        self.added_voxels += stack.raw.size

    def _add_restored(self, line: dict[str, Any], restored: Restored, model: Model) -> None:
        line["model"] = model.card.name
        line["intensity_scale_adu"] = [restored.scale.low_adu, restored.scale.high_adu]
        line["clipped_voxels"] = restored.clipped_voxels
        line["device"] = model.session.device.name
        line["tiles"] = {"count": restored.tile_count, "shape_zyx": list(restored.tile_zyx)}
        if restored.tiles_reduced:
            line["tiles"]["reduced_because"] = restored.tiles_reduced
        line["seconds"] = {k: round(v, 4) for k, v in restored.seconds.items()}
        if restored.steps:
            line["steps"] = [
                {"model": step.model, "zoom_zyx": [round(zoom, 4) for zoom in step.zoom_zyx]}
                for step in restored.steps
            ]
        if restored.given_back is not None:
            line["given_back"] = {k: round(v, 4) for k, v in asdict(restored.given_back).items()}
        if restored.gain is not None:
            line["gain_over_raw"] = {
                "db": restored.gain.db,
                "error_db": restored.gain.error_db,
                "at_least_db": restored.gain.at_least_db,
                "not_known_because": restored.gain.unknown_because,
                "noise_as_set": round(restored.gain.noise_as_set, 4),
                "in_words": restored.gain.in_words,
            }
        if restored.less_light is not None:
            line["less_light"] = less_light_in_report(restored.less_light)
            self.less_light = restored.less_light.in_words
        if any(restored.defects):
            (found,) = restored.defects
            line["defects"] = {
                "pixels": len(found.pixels),
                "mapped_pixels": found.mapped,
                "voxels": len(found.voxels),
                "first": found.first(),
            }
        for stage, seconds in restored.seconds.items():
            self._count(stage, seconds)
        self.models[model.card.name] = {
            "version": model.card.version,
            "sha256": model.digest,
            "weights_sha256": model.card.weights_sha256,
            **({"doi": model.card.doi} if model.card.doi else {}),
            "precision": model.card.precision,
            "percentiles": list(model.card.percentiles),
            "device": _described(model.session.device),
            **_steps_of(model),
        }
        for step in model.steps or (model,):
            warning = step.session.device.warning
            if warning and warning not in self.device_warnings:
                self.device_warnings.append(warning)

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _add_bars(self, line: dict[str, Any], restored: Restored) -> None:
        bars = restored.error_bars
        if bars is None:
            return
        if bars.standard_error is None:
            line["standard_error"] = {"not_known_because": bars.unknown_because}
            self._note_once(f"error bars are not known: {bars.unknown_because}")
            return
        if bars.tested:
            self._note_once(bars.tested)
        line["standard_error"] = {
            "median_adu": round(bars.median_adu, 4),
            "p99.9_adu": round(bars.most_adu, 4),
            "in_words": f"{bars.median_adu:.3g} ADU (median; up to {bars.most_adu:.3g})",
        }

    def _add_camera(self, line: dict[str, Any], choice: CameraChoice | None) -> None:
        if choice is None:
            return
        if choice.camera is None:
            line["camera"] = {"not_known_because": choice.unknown_because}
            self._note_once(
                f"its camera is not known: {choice.unknown_because}; name it in [[cameras]]"
            )
            return
        numbers = choice.camera.settings
        line["camera"] = {
            "used": choice.camera.described,
            "gain_adu_per_e": numbers.gain_adu_per_e,
            "offset_adu": numbers.offset_adu,
            "read_noise_e": numbers.read_noise_e,
        }

    def annotations(self, *, of_bars: bool = False) -> list[Pairs]:
        """Return what the OME-XML of the image, or of its error bars, says about each position."""
        file_stacks = self.request.file_stacks
        of_all = about_the_result(SOFTWARE, self.request.recipe, self.request.units, self.models)
        if of_bars:
            of_all.insert(0, ("what", f"standard error (ADU) of the voxels of {self.result_name}"))
        lines: list[list[dict[str, Any]]] = [[] for _ in range(file_stacks.positions)]
        for line in self.stacks:
            # Of a result that grows, an earlier report tells, which anybody may have changed.
            if line["position"] < len(lines):
                lines[line["position"]].append(line)
        return [[*of_all, *about_stacks(each)] for each in lines]

    def doubt(self) -> str:
        """Return in one line why the result is doubtful, or "" where nothing is."""
        return in_one_line([line.get("doubts", ()) for line in self.stacks])

    def _growth(self) -> dict[str, Any]:
        """Return what there is to say only of a result that lacks stacks, or has grown."""
        lines = [
            {"position": i.position, "time": i.time, "channel": i.channel, "reason": why}
            for i, why in self.left.items()
        ]
        growth = self.request.growth
        finished = {} if growth is None else {"finished": growth.finished}
        return {**finished, **({"left_out": lines} if lines else {})}

    def _count(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def publish(
        self, result_path: ResultPath, *, replaces: bool = False, **seconds: float
    ) -> Published:
        """Publish the report of an image that is in its place, and return what it tells.

        Parameters
        ----------
        result_path
            Where the image is, and the report goes.
        replaces
            Whether it takes the place of the report of a result that has grown so far.
        seconds
            What was not counted with the stacks (s).

        Raises
        ------
        OutputError
            The disk refused.
        """
        delay_s = max(0.0, time.time() - self.request.file_stacks.fingerprint.mtime_ns / 1e9)
        text = self.to_json(**seconds, delay=delay_s)
        beside = result_path.report.parent == result_path.image.parent
        publish_text(result_path.report, text, free=not replaces, beside=beside)
        return Published(
            image=result_path.image,
            report=result_path.report,
            delay_s=delay_s,
            seconds={**self.seconds, **seconds},
            warnings=tuple(self.warnings),
            notes=tuple(self.notes),
            doubt=self.doubt(),
            device_warnings=tuple(self.device_warnings),
            stacks=self.added,
            voxels=self.added_voxels,
            less_light=self.less_light,
        )

    def to_json(self, **times: float) -> str:
        """Return the report as JSON; ``times`` are further seconds to list."""
        file_stacks = self.request.file_stacks
        written = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        return json.dumps(
            {
                "format": REPORT_FORMAT,
                "software": SOFTWARE,
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
                    **source_in_report(file_stacks),
                },
                "result": self.result_name,
                **({"error_bars": self.bars_name} if self.bars_name else {}),
                "units": self.request.units,
                "recipe": self.request.recipe,
                "settings_digest": self.request.settings_digest,
                **({"settings": self.request.settings} if self.request.settings else {}),
                "models": self.models,
                "seconds": {k: round(v, 4) for k, v in {**self.seconds, **times}.items()},
                "warnings": [*self.device_warnings, *self.warnings],
                "notes": self.notes,
                **self._growth(),
                "stacks": self.stacks,
            },
            indent=1,
            ensure_ascii=False,
        )


def _steps_of(model: Model) -> dict[str, Any]:
    """Return what a report holds of the models of a chain; nothing of one model."""
    steps = [
        {
            "name": step.card.name,
            "version": step.card.version,
            "sha256": step.digest,
            "weights_sha256": step.card.weights_sha256,
            "percentiles": list(step.card.percentiles),
            "device": _described(step.session.device),
        }
        for step in model.steps
    ]
    return {"steps": steps} if steps else {}


def _described(device: Device) -> dict[str, Any]:
    """Return what a report holds of a device: where it is, its name tells."""
    where = ("on_gpu", "elsewhere")
    only_of_some = ("form", "known_answer_error")
    return {
        name: value
        for name, value in asdict(device).items()
        if name not in where and (value or name not in only_of_some)
    }
