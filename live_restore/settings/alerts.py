"""Who is told when a run needs a person, and of what."""

from __future__ import annotations

import importlib.util
from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from live_restore.installation import install_with
from live_restore.settings.section import NO_PIXELS, Positive, Section


class AlertSettings(Section):
    """Who is told when a run needs a person, and of what; 0 switches a rule off."""

    to: tuple[SecretStr, ...] = Field(
        (),
        description="addresses as apprise writes them (mail, Teams, Slack, a web hook ...)",
        json_schema_extra=NO_PIXELS,
    )
    command: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="program and arguments to run; gets the title as its last argument, and the "
        "text on standard input",
        json_schema_extra=NO_PIXELS,
    )
    behind_stacks: Annotated[int, Field(ge=0)] = Field(
        20, description="more than so many stacks wait", json_schema_extra=NO_PIXELS
    )
    doubtful_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5,
        description="more than this share of the last 20 results are doubtful",
        json_schema_extra=NO_PIXELS,
    )
    quiet_min: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="nothing has arrived for so long (minutes)", json_schema_extra=NO_PIXELS
    )
    disk_free_gb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        10.0,
        description="less is free on the disk of the watched folder (GB)",
        json_schema_extra=NO_PIXELS,
    )
    failed: bool = Field(
        True, description="a stack could not be restored", json_schema_extra=NO_PIXELS
    )
    died: bool = Field(
        True,
        description="the daemon was killed, or ended by an error",
        json_schema_extra=NO_PIXELS,
    )
    hold_off_min: Positive = Field(
        60.0,
        description="the same cause is not told again within this time (minutes)",
        json_schema_extra=NO_PIXELS,
    )

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told."""
        return bool(self.to or self.command)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> AlertSettings:
        if self.to and importlib.util.find_spec("apprise") is None:
            raise ValueError(f"to needs the package apprise: {install_with('alerts')}")
        return self
