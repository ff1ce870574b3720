"""Settings: one typed tree of everything that can be set, with units and defaults."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveInt,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from live_restore.settings.adapt import AdaptSettings
from live_restore.settings.alerts import AlertSettings
from live_restore.settings.camera import (
    CameraSettings,
    OneOfSeveralCameras,
    TrustSettings,
    as_text,
)
from live_restore.settings.cluster import ClusterSettings, check_address
from live_restore.settings.devices import check_devices, is_remote
from live_restore.settings.old_keys import RenamedEnvironment, renamed
from live_restore.settings.output import OutputSettings
from live_restore.settings.paths import absolute
from live_restore.settings.plane_pattern import checked_plane_pattern
from live_restore.settings.process import LogSettings, ProcessSettings
from live_restore.settings.section import (
    IN_DIGEST,
    IN_DIGEST_IF_SET,
    IN_RECIPE,
    NO_PIXELS,
    Positive,
    Section,
)

VARIABLE_PREFIX = "LIVE_RESTORE_"
"""An environment variable is named after its key, ``LIVE_RESTORE_<SECTION>__<KEY>``."""


class WatchSettings(Section):
    """How arriving files are found and when they count as finished."""

    recursive: bool = Field(True, description="look into sub-folders", json_schema_extra=NO_PIXELS)
    use_events: bool = Field(
        True, description="let the file system wake the scanner early", json_schema_extra=NO_PIXELS
    )
    scan_interval_s: Positive = Field(
        2.0, description="time between full scans (s)", json_schema_extra=NO_PIXELS
    )
    settle_s: Positive = Field(
        0.25,
        description="a file must be unchanged this long before it is looked into (s)",
        json_schema_extra=NO_PIXELS,
    )
    quiet_s: Positive = Field(
        2.0,
        description="the same for a file that does not declare its number of planes (s)",
        json_schema_extra=NO_PIXELS,
    )
    stall_s: Positive = Field(
        600.0,
        description="an unfinished file unchanged this long is shown as incomplete (s)",
        json_schema_extra=NO_PIXELS,
    )
    newest_first: bool = Field(
        False,
        description="restore what was complete last first, and the rest after it",
        json_schema_extra=NO_PIXELS,
    )


class FilesSettings(Section):
    """How files are understood."""

    undeclared_axis: Literal["auto", "Z", "T"] = Field(
        "auto",
        description='what an axis without a name (I, Q) means; "auto": Z, unless the header gives '
        "a frame interval or a frame rate",
        json_schema_extra=IN_DIGEST,
    )
    interleaved_channels: Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="channels that alternate, plane by plane, along an axis without a name",
        json_schema_extra=IN_DIGEST_IF_SET,
    )
    blank_planes: Literal["incomplete", "restore"] = Field(
        "incomplete",
        description="what to do with a stack in which whole planes are zero, others without zeros",
        json_schema_extra=NO_PIXELS,
    )
    partial_stacks: Literal["incomplete", "restore"] = Field(
        "incomplete",
        description="what to do with a stack in the middle of which its acquisition or file ended",
        json_schema_extra=NO_PIXELS,
    )
    plane_pattern: Annotated[str, AfterValidator(checked_plane_pattern)] | None = Field(
        None,
        description="names of files of one plane each: a regular expression with the groups z and, "
        "where there are such, t, c, p (numbers; p may be a well such as B03) and run; unset: only "
        "namings that are known",
        json_schema_extra=NO_PIXELS,
    )


class InferenceSettings(Section):
    """How a stack is restored."""

    device: Annotated[str, AfterValidator(check_devices)] = Field(
        "auto",
        description='"auto", "cpu", "openvino", "cuda", "cuda:1", "tensorrt" ...; several, as in '
        '"cuda:0, cuda:1", restore a stack each at the same time; "dask://HOST:PORT": the workers '
        "of other computers",
        json_schema_extra=NO_PIXELS,
    )
    precision: Literal["auto", "fp32"] = Field(
        "auto",
        description='"fp32": never less, also where the error is far below the noise',
        json_schema_extra=IN_DIGEST,
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="CPU threads; 0: all cores", json_schema_extra=NO_PIXELS
    )
    gpu_memory_gb: Positive | None = Field(
        None,
        description="GPU memory to use at most (GB); unset: what is free",
        json_schema_extra=NO_PIXELS,
    )
    tiling: Literal["auto", "reference"] = Field(
        "auto",
        description='"reference": tiles and blending as the published code has them, in float32',
        json_schema_extra=IN_DIGEST,
    )
    max_tile_mvoxel: Positive | None = Field(
        None,
        description="largest tile given to the network at once (million voxels); unset: what the "
        "device has memory for",
        json_schema_extra=IN_DIGEST,
    )
    overlap_zyx: tuple[int, int, int] | None = Field(
        None,
        description="overlap of neighbouring tiles (voxels); unset: the model's card says",
        json_schema_extra=IN_DIGEST,
    )
    block_zyx: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None,
        description='tile of tiling = "reference" (voxels); unset: the shape trained on',
        json_schema_extra=IN_DIGEST,
    )
    percentiles: tuple[float, float] | None = Field(
        None,
        description="intensity scale (percent); unset: the model's card says",
        json_schema_extra=IN_DIGEST,
    )

    @property
    def reduced(self) -> bool:
        """Whether less than float32 may be used: never where the published numbers are wanted."""
        return self.precision == "auto" and self.tiling != "reference"

    @property
    def devices(self) -> tuple[str, ...]:
        """Each device by itself."""
        return tuple(self.device.split(", "))

    @model_validator(mode="after")
    def _in_order(self) -> InferenceSettings:
        if self.percentiles is not None and not (
            0 <= self.percentiles[0] < self.percentiles[1] <= 100
        ):
            raise ValueError("percentiles must be 0 <= low < high <= 100")
        if self.overlap_zyx is not None and min(self.overlap_zyx) < 0:
            raise ValueError("overlap_zyx must not be negative")
        return self


class JournalSettings(Section):
    """The memory of what has been restored."""

    folder: Annotated[Path, AfterValidator(absolute)] | None = Field(
        None, description="unset: the user's state folder", json_schema_extra=NO_PIXELS
    )
    max_attempts: PositiveInt = Field(
        3,
        description="a stack over which program or runtime failed this often is set aside",
        json_schema_extra=NO_PIXELS,
    )
    retry_s: Positive = Field(
        5.0,
        description="first wait before trying again what the disk refused (s); then doubled",
        json_schema_extra=NO_PIXELS,
    )
    lease_s: Positive = Field(
        30.0,
        description="a lease not renewed this long is reported as hung (s)",
        json_schema_extra=NO_PIXELS,
    )


class ModelRule(Section):
    """Which model restores which channels; the first rule that matches a channel decides."""

    channels: tuple[Annotated[str, BeforeValidator(as_text)], ...] = Field(
        ("*",),
        description="channel names (wildcards allowed) or numbers from 0",
        json_schema_extra=IN_RECIPE,
    )
    model: str = Field(
        "fast",
        description="name of a bundled model, or path of an .onnx file or a zoo package",
        json_schema_extra=IN_RECIPE,
    )
    steps: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        max_length=4,
        description="instead of model, several one after the other, each on what the one before it "
        'made, such as ["standard", "sharpen"]',
        json_schema_extra=IN_RECIPE,
    )
    skip: bool = Field(
        False, description="leave these channels as they are", json_schema_extra=IN_RECIPE
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Names or paths of its models, in order."""
        return self.steps or (self.model,)

    @model_validator(mode="after")
    def _model_or_steps(self) -> ModelRule:
        if self.steps is not None and len(self.steps) == 1:
            raise ValueError("steps names one model only: write model instead")
        if self.steps and self.model != type(self).model_fields["model"].default:
            raise ValueError("model and steps exclude each other: omit one")
        return self


LISTS: dict[str, type[Section]] = {"cameras": OneOfSeveralCameras, "models": ModelRule}
"""Sections of which there may be several."""


class Settings(BaseSettings):
    """Everything that can be set; unknown keys are refused."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=VARIABLE_PREFIX, env_nested_delimiter="__"
    )

    watch: WatchSettings = WatchSettings()
    files: FilesSettings = FilesSettings()
    inference: InferenceSettings = InferenceSettings()
    camera: CameraSettings | None = None
    cameras: tuple[OneOfSeveralCameras, ...] = ()
    output: OutputSettings = OutputSettings()
    trust: TrustSettings = TrustSettings()
    journal: JournalSettings = JournalSettings()
    process: ProcessSettings = ProcessSettings()
    log: LogSettings = LogSettings()
    alerts: AlertSettings = AlertSettings()
    adapt: AdaptSettings = AdaptSettings()
    cluster: ClusterSettings = ClusterSettings()
    models: tuple[ModelRule, ...] = (ModelRule(),)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first; flags and file arrive merged as arguments."""
        del env_settings
        return RenamedEnvironment(settings_cls), init_settings

    @model_validator(mode="after")
    def _some_model(self) -> Settings:
        if not self.models:
            raise ValueError("models is empty: name at least one [[models]] entry")
        return self

    @model_validator(mode="after")
    def _camera_has_its_units(self) -> Settings:
        if (self.camera is not None or self.cameras or self.output.keep_flux) and (
            self.output.units == "network" or self.inference.tiling == "reference"
        ):
            culprit = "[camera]" if self.camera is not None else "output.keep_flux"
            raise ValueError(
                'output.units = "network" and inference.tiling = "reference" are for published '
                f"numbers, which {culprit} would change: leave out the one or the other"
            )
        return self

    @model_validator(mode="after")
    def _error_bars_have_their_gain(self) -> Settings:
        if self.output.error_bars and not self.trust.enabled:
            raise ValueError(
                "output.error_bars are made with the gain of each stack, which trust.enabled = "
                "false leaves out: leave out the one or the other"
            )
        return self

    @model_validator(mode="after")
    def _steps_have_camera_units(self) -> Settings:
        if any(rule.steps for rule in self.models) and self.output.units == "network":
            raise ValueError(
                'models one after the other give camera units: leave out output.units = "network"'
            )
        return self

    @model_validator(mode="after")
    def _bars_have_a_camera(self) -> Settings:
        if self.output.error_bars and self.camera is None and not self.cameras:
            raise ValueError(
                "output.error_bars needs the noise of the camera: measure it with "
                "`live-restore camera`, or leave error_bars out"
            )
        return self

    @model_validator(mode="after")
    def _reaches_only_who_is_known(self) -> Settings:
        for device in filter(is_remote, self.inference.devices):
            check_address(device, self.cluster.certificates)
        return self

    @model_validator(mode="before")
    @classmethod
    def _with_new_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        return renamed(values)

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names or paths of all models that restore, rule by rule."""
        return tuple(name for rule in self.models if not rule.skip for name in rule.names)

    def pixel_settings(self) -> dict[str, Any]:
        """Return what can change a restored voxel as it would be written in a config.toml."""
        found: dict[str, Any] = {}
        for name in type(self).model_fields:
            section = getattr(self, name)
            if isinstance(section, Section):
                keys = {
                    key
                    for key, field in type(section).model_fields.items()
                    if field.json_schema_extra != NO_PIXELS
                }
                values = section.model_dump(mode="json", include=keys, exclude_none=True)
                found |= {name: values} if values else {}
        if self.cameras:
            found["cameras"] = [
                each.model_dump(mode="json", exclude_none=True) for each in self.cameras
            ]
        # Without steps as reports had it before there were any.
        rules = [
            rule.model_dump(mode="json", exclude=set() if rule.steps else {"steps"})
            for rule in self.models
        ]
        return {**found, "models": rules}

    def pixel_digest(self) -> str:
        """Return a digest (hex) of the settings that can change a restored voxel.

        Names and values both count: of a setting that is renamed, the old name has to stay here.
        """
        relevant: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            section = getattr(self, name)
            if not isinstance(section, Section):
                continue  # no camera; several, see below; and models, which are in the recipe
            values = section.pixel_values()
            # A section that may be absent counts only where it is given: without it, results stay
            # those of the versions before it.
            relevant |= {name: values} if field.default is None else values
        if self.cameras:
            relevant["cameras"] = [each.pixel_values() for each in self.cameras]
        # "auto" refuses more than "Z", and restores the same voxels.
        if relevant["undeclared_axis"] == "auto":
            relevant["undeclared_axis"] = "Z"
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
