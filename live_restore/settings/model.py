"""Settings: one typed tree of everything that can be set, with units and defaults."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import string
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from live_restore.stack import Units

VARIABLE_PREFIX = "LIVE_RESTORE_"
"""An environment variable is named after its key, ``LIVE_RESTORE_<SECTION>__<KEY>``."""

_DEVICE = re.compile(
    r"(auto|cpu|openvino|(cuda|tensorrt|directml|openvino-gpu)(:\d{1,3})?)\Z", re.ASCII
)


def _check_template(template: str) -> str:
    if template.startswith("~"):
        first, slash, rest = template.replace("\\", "/").partition("/")
        home = str(_expanded(Path(first))).replace("{", "{{").replace("}", "}}")
        template = home + slash + rest
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"has unbalanced braces ({error})") from None
    fields = [field for _, field, _, _ in parts if field is not None]
    odd = [f for _, f, spec, conversion in parts if f is not None and (spec or conversion)]
    if odd or not set(fields) <= {"folder", "name"}:
        raise ValueError("may use only {folder} and {name} in braces")
    if "name" not in fields:
        raise ValueError("must contain {name}, or every result would have the same name")
    if not template.endswith(".ome.tif"):
        raise ValueError("must end in .ome.tif")
    if not template.startswith("{folder}") and not Path(template).is_absolute():
        # Else results would go wherever the program happens to be started.
        raise ValueError("must begin with {folder} or be an absolute path")
    return template


def _expanded(path: Path) -> Path:
    """Replace ``~`` or ``~name`` at the beginning by that person's home."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path.parts[0]} is nobody's home on this computer") from None


def _absolute(path: Path) -> Path:
    return _expanded(path).absolute()


def _check_devices(text: str) -> str:
    devices = [device.strip() for device in text.split(",")]
    for device in devices:
        if not _DEVICE.match(device):
            raise ValueError(f'"{device}" is no device: "auto", "cpu", "openvino", "cuda:1" ...')
    # "cuda" is "cuda:0".
    if len({device.removesuffix(":0") for device in devices}) < len(devices):
        raise ValueError("names a device twice")
    if len(devices) > 1 and "auto" in devices:
        raise ValueError('"auto" chooses one device: leave it away, or name it alone')
    return ", ".join(devices)


def _as_text(value: object) -> object:
    """Let the number of a channel be written as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WatchSettings(_Section):
    """How arriving files are found and when they count as finished."""

    recursive: bool = Field(True, description="look into sub-folders")
    use_events: bool = Field(True, description="let the file system wake the scanner early")
    scan_interval_s: _Positive = Field(2.0, description="time between full scans (s)")
    settle_s: _Positive = Field(
        0.25, description="a file must be unchanged this long before it is looked into (s)"
    )
    quiet_s: _Positive = Field(
        2.0, description="the same for a file that does not declare its number of planes (s)"
    )
    stall_s: _Positive = Field(
        600.0, description="an unfinished file unchanged this long is shown as incomplete (s)"
    )
    newest_first: bool = Field(
        False, description="restore what was complete last first, and the rest after it"
    )


class FilesSettings(_Section):
    """How files are understood."""

    undeclared_axis: Literal["Z", "T"] = Field(
        "Z", description="what an axis without a name (I, Q) means"
    )
    blank_planes: Literal["incomplete", "restore"] = Field(
        "incomplete", description="what to do with a stack in which whole planes are zero"
    )
    partial_stacks: Literal["incomplete", "restore"] = Field(
        "incomplete",
        description="what to do with a stack of a data set whose run ended in the middle of it",
    )


class InferenceSettings(_Section):
    """How a stack is restored."""

    device: Annotated[str, AfterValidator(_check_devices)] = Field(
        "auto",
        description='"auto", "cpu", "openvino", "cuda", "cuda:1", "tensorrt" ...; several, as in '
        '"cuda:0, cuda:1", restore a stack each at the same time',
    )
    precision: Literal["auto", "fp32"] = Field(
        "auto", description='"fp32": never less, also where the error is far below the noise'
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="CPU threads; 0: all cores"
    )
    gpu_memory_gb: _Positive | None = Field(
        None, description="GPU memory to use at most (GB); unset: what is free"
    )
    tiling: Literal["auto", "reference"] = Field(
        "auto",
        description='"reference": tiles and blending as the published code has them, in float32',
    )
    max_tile_mvoxel: _Positive | None = Field(
        None,
        description="largest tile given to the network at once (million voxels); unset: what the "
        "device has memory for",
    )
    overlap_zyx: tuple[int, int, int] | None = Field(
        None, description="overlap of neighbouring tiles (voxels); unset: the model's card says"
    )
    block_zyx: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description='tile of tiling = "reference" (voxels); unset: the shape trained on'
    )
    percentiles: tuple[float, float] | None = Field(
        None, description="intensity scale (percent); unset: the model's card says"
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


class CameraSettings(_Section):
    """The camera, so that its noise is known and not only estimated; all three or none."""

    # The bounds lie far beyond any camera, and keep all that is computed finite.
    gain_adu_per_e: Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)] = Field(
        description="grey values per photo-electron (data sheets: mostly the reciprocal), or the "
        "slope of a photon transfer curve"
    )
    offset_adu: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] = Field(
        description="grey value of darkness"
    )
    read_noise_e: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        description="read noise, the rms of all pixels (photo-electrons)"
    )


class OutputSettings(_Section):
    """Where results go."""

    template: Annotated[str, AfterValidator(_check_template)] = Field(
        "{folder}/restored/{name}.ome.tif",
        description="{folder}: of the raw file; {name}: its name without endings",
    )
    datasets: Literal["ome-tiff", "ome-zarr"] = Field(
        "ome-tiff",
        description="of data set folders: a file per stack, or one growing image per position",
    )
    min_free_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        2.0, description="watch begins nothing where less is free; goes on when there is room (GB)"
    )
    units: Units = Field(
        "camera",
        description='grey values and type of the raw data; "camera-float": float32, not rounded; '
        '"network": float32 between the percentiles',
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> OutputSettings:
        if self.datasets == "ome-zarr" and importlib.util.find_spec("zarr") is None:
            raise ValueError(
                'datasets = "ome-zarr" needs the package zarr: pip install "live-restore[zarr]"'
            )
        return self


class JournalSettings(_Section):
    """The memory of what has been restored."""

    folder: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None, description="unset: the user's state folder"
    )
    max_attempts: PositiveInt = Field(
        3, description="a stack over which program or runtime failed this often is set aside"
    )
    retry_s: _Positive = Field(
        5.0, description="first wait before trying again what the disk refused (s); then doubled"
    )
    lease_s: _Positive = Field(
        30.0, description="a claim not renewed this long is told as hung (s)"
    )


class ProcessSettings(_Section):
    """How much of the computer the program may take from others."""

    priority: Literal["normal", "below_normal"] = Field(
        "below_normal", description="the acquisition program goes first"
    )
    cores: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, min_length=1, description="processor cores to use, from 0; unset: all"
    )


class LogSettings(_Section):
    """What is told, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["plain", "json"] = Field("plain", description="lines on the terminal")


class ModelRule(_Section):
    """Which model restores which channels; the first rule that matches a channel decides."""

    channels: tuple[Annotated[str, BeforeValidator(_as_text)], ...] = Field(
        ("*",), description="channel names (wildcards allowed) or numbers from 0"
    )
    model: str = Field(
        "fast", description="name of a bundled model, or path of an .onnx file or a zoo package"
    )
    skip: bool = Field(False, description="leave these channels as they are")


class Settings(BaseSettings):
    """Everything that can be set; unknown keys are refused."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=VARIABLE_PREFIX, env_nested_delimiter="__"
    )

    watch: WatchSettings = WatchSettings()
    files: FilesSettings = FilesSettings()
    inference: InferenceSettings = InferenceSettings()
    camera: CameraSettings | None = None
    output: OutputSettings = OutputSettings()
    journal: JournalSettings = JournalSettings()
    process: ProcessSettings = ProcessSettings()
    log: LogSettings = LogSettings()
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
        del settings_cls
        return env_settings, init_settings

    @model_validator(mode="after")
    def _some_model(self) -> Settings:
        if not self.models:
            raise ValueError("models is empty: name at least one [[models]] entry")
        return self

    @model_validator(mode="after")
    def _camera_has_its_units(self) -> Settings:
        if self.camera is not None and (
            self.output.units == "network" or self.inference.tiling == "reference"
        ):
            raise ValueError(
                'output.units = "network" and inference.tiling = "reference" are for published '
                "numbers, which [camera] would change: leave out the one or the other"
            )
        return self

    def pixel_digest(self) -> str:
        """Return a digest (hex) of the settings that can change a restored voxel."""
        relevant = {
            "undeclared_axis": self.files.undeclared_axis,
            "precision": self.inference.precision,
            "tiling": self.inference.tiling,
            "max_tile_mvoxel": self.inference.max_tile_mvoxel,
            "overlap_zyx": self.inference.overlap_zyx,
            "block_zyx": self.inference.block_zyx,
            "percentiles": self.inference.percentiles,
            "units": self.output.units,
            # Only where it is told: without it, results stay those of the versions before it.
            **({"camera": self.camera.model_dump()} if self.camera is not None else {}),
        }
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
