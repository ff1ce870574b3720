"""What all sections of the settings have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

# Every setting declares whether it can change a restored voxel, and if so, what accounts for it:
# results of other settings must never be taken for those of these. Where and when files are looked
# for changes none, nor which device computes: all of them have to give the same numbers.
IN_DIGEST: dict[str, Any] = {"pixels": "digest"}  # Settings.pixel_digest
IN_RECIPE: dict[str, Any] = {"pixels": "recipe"}  # ModelSet.recipe, with the models' digests
NO_PIXELS: dict[str, Any] = {"pixels": "none"}


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def pixel_keys(cls) -> set[str]:
        """Return the keys that are part of the pixel digest."""
        return {key for key, field in cls.model_fields.items()
                if field.json_schema_extra == IN_DIGEST}  # fmt: skip
