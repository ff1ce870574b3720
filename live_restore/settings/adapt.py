"""When a model learns from the run that is being restored."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from live_restore.settings.section import NO_PIXELS, Positive, Section


class AdaptSettings(Section):
    """When ``live-restore watch`` lets a model learn from the run itself; see ``adapt``."""

    after_stacks: Annotated[int, Field(ge=0)] = Field(
        0,
        description="as soon as so many stacks of a run are restored and nothing waits; 0: never",
        json_schema_extra=NO_PIXELS,
    )
    minutes: Positive = Field(
        30.0, description="that it may learn (minutes)", json_schema_extra=NO_PIXELS
    )
