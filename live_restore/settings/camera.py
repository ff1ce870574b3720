"""The camera that made the stacks, and what is estimated with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from live_restore.settings.paths import absolute
from live_restore.settings.section import IN_DIGEST, IN_RECIPE, NO_PIXELS, Section

DefectVoxels = Literal["keep", "mend"]
"""What becomes of voxels that no sample made: hot and dead pixels, cosmic rays."""


def as_text(value: object) -> object:
    """Let the number of a channel be written as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class CameraSettings(Section):
    """The camera, so that its noise is known and not only estimated; all three or none."""

    # The bounds lie far beyond any camera, and keep all that is computed finite.
    gain_adu_per_e: Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)] = Field(
        description="grey values per photo-electron (data sheets: mostly the reciprocal), or the "
        "slope of a photon transfer curve",
        json_schema_extra=IN_DIGEST,
    )
    offset_adu: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] = Field(
        description="grey value of darkness", json_schema_extra=IN_DIGEST
    )
    read_noise_e: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        description="read noise, the rms of all pixels (photo-electrons)",
        json_schema_extra=IN_DIGEST,
    )
    bad_pixels: Annotated[Path, AfterValidator(absolute)] | None = Field(
        None,
        description="a TIFF image of the camera's pixels, above 0 where one is bad; unset: only "
        "those are found that a stack shows",
        json_schema_extra=IN_RECIPE,
    )


class OneOfSeveralCameras(CameraSettings):
    """A camera among several: which stacks it recorded."""

    serial: Annotated[str, Field(max_length=200)] = Field(
        "",
        description="its serial number as the metadata of its stacks have it; unset: of any camera",
        json_schema_extra=IN_DIGEST,
    )
    channels: tuple[Annotated[str, BeforeValidator(as_text)], ...] = Field(
        ("*",),
        min_length=1,
        description="names of the channels that it records (wildcards allowed), or numbers from 0",
        json_schema_extra=IN_DIGEST,
    )


class TrustSettings(Section):
    """What is estimated about results without knowing the truth."""

    enabled: bool = Field(
        True,
        description="false: none of the following, and neither brightness nor sharpness is "
        "compared with the raw stack, nor over time",
        json_schema_extra=NO_PIXELS,
    )
    every: Annotated[int, Field(ge=0)] = Field(
        20,
        description="estimate of one stack in so many how much nearer to the truth it is than the "
        "raw one, with [camera] only; 0: of none",
        json_schema_extra=NO_PIXELS,
    )
    less_light_every: Annotated[int, Field(ge=0)] = Field(
        10,
        description="of one in so many of these, estimate what a half, a quarter and a tenth of "
        "the light would cost; 0: of none",
        json_schema_extra=NO_PIXELS,
    )

    @property
    def gain_every(self) -> int:
        """Of one stack in so many the gain is estimated; 0: of none."""
        return self.every if self.enabled else 0
