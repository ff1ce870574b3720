"""What all sections of the settings have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

# Every setting declares whether it can change a restored voxel, and if so, what accounts for it:
# results of other settings must never be taken for those of these. Where and when files are looked
# for changes none, nor which device computes: all of them have to give the same numbers.
IN_DIGEST: dict[str, Any] = {"pixels": "digest"}  # Settings.pixel_digest
# Settings that came later count where they are set: results that are there stay those of a default.
IN_DIGEST_IF_SET: dict[str, Any] = {"pixels": "digest", "counts": "if set"}
IN_RECIPE: dict[str, Any] = {"pixels": "recipe"}  # ModelSet.recipe, with the models' digests
NO_PIXELS: dict[str, Any] = {"pixels": "none"}


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def pixel_values(self) -> dict[str, Any]:
        """Return the keys that are part of the pixel digest, and their values."""
        keys = {
            key
            for key, field in type(self).model_fields.items()
            if field.json_schema_extra == IN_DIGEST
            or (field.json_schema_extra == IN_DIGEST_IF_SET and getattr(self, key) != field.default)
        }
        return self.model_dump(include=keys)
