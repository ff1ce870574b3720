"""What results are, and where they go."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from live_restore.installation import install_with
from live_restore.settings.camera import DefectVoxels
from live_restore.settings.paths import check_template
from live_restore.settings.section import IN_DIGEST, IN_DIGEST_IF_SET, NO_PIXELS, Section
from live_restore.stack import Units


class OutputSettings(Section):
    """Where results go."""

    template: Annotated[str, AfterValidator(check_template)] = Field(
        "{folder}/restored/{name}.ome.tif",
        description="{folder}: of the raw file; {name}: its name without endings",
        json_schema_extra=NO_PIXELS,
    )
    acquisitions: Literal["ome-tiff", "ome-zarr"] = Field(
        "ome-tiff",
        description="of acquisition folders: a file per stack, or one growing image per position",
        json_schema_extra=NO_PIXELS,
    )
    min_free_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        2.0,
        description="watch begins nothing where less is free; goes on when there is room (GB)",
        json_schema_extra=NO_PIXELS,
    )
    shared: bool = Field(
        False,
        description="several computers restore into these folders: take each result by a small "
        "file beside it, so that no stack is restored twice",
        json_schema_extra=NO_PIXELS,
    )
    units: Units = Field(
        "camera",
        description='grey values and type of the raw data; "camera-float": float32, not rounded; '
        '"network": float32 between the percentiles',
        json_schema_extra=IN_DIGEST,
    )
    defects: DefectVoxels = Field(
        "keep",
        description='hot and dead pixels and cosmic rays, in the result: "keep" what was recorded, '
        'or "mend" it from what is around; the network never sees them',
        json_schema_extra=IN_DIGEST_IF_SET,
    )
    keep_flux: bool = Field(
        False,
        description="give regions back the light that the network took from them, with a little of "
        "their noise: for measuring brightness",
        json_schema_extra=IN_DIGEST_IF_SET,
    )
    error_bars: bool = Field(
        False,
        description="write a second image beside each result: the standard error of every voxel; "
        "it needs a camera, and a model whose errors were measured",
        json_schema_extra=IN_DIGEST_IF_SET,
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> OutputSettings:
        if self.acquisitions == "ome-zarr" and importlib.util.find_spec("zarr") is None:
            raise ValueError(
                f'acquisitions = "ome-zarr" needs the package zarr: {install_with("zarr")}'
            )
        if self.keep_flux and self.error_bars:
            raise ValueError(
                "error_bars are of results that nothing is added to, which keep_flux does: "
                "leave out the one or the other"
            )
        return self
