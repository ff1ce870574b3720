"""What the program may take of the computer, and what it tells."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from live_restore.settings.section import NO_PIXELS, Section


class ProcessSettings(Section):
    """How much of the computer the program may take from others."""

    priority: Literal["normal", "below_normal"] = Field(
        "below_normal",
        description="the acquisition program goes first",
        json_schema_extra=NO_PIXELS,
    )
    while_acquiring: Literal["auto", "pause", "full"] = Field(
        "auto",
        description='while planes arrive, on a CPU: "auto": wait where restoring would slow the '
        'acquisition; "pause": wait for every plane; "full": go on',
        json_schema_extra=NO_PIXELS,
    )
    cores: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        min_length=1,
        description="processor cores to use, from 0; unset: all",
        json_schema_extra=NO_PIXELS,
    )


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", json_schema_extra=NO_PIXELS)
    format: Literal["plain", "json"] = Field(
        "plain", description="lines on the terminal", json_schema_extra=NO_PIXELS
    )
