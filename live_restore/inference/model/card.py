"""The card of a model: what it expects, where it came from, where it stops working."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from live_restore.inference.model.envelope import Envelope

CARD_KEY = "live_restore_card"
"""Key of the card's JSON among the ONNX file's ``metadata_props``."""


_MAX_CHANNELS = 16
_MAX_PERIOD_VOXELS = 2**22
# Any stack is padded to a multiple of these; networks that halve five times need 32.
_Multiple = Annotated[int, Field(ge=1, le=128)]
_Overlap = Annotated[int, Field(ge=0, le=1024)]
_Patch = Annotated[int, Field(ge=1, le=4096)]
_Micrometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ModelCard(BaseModel):
    """What a model expects and promises; embedded in its ONNX file as JSON.

    Unknown keys are kept: an older daemon still runs a newer card of the same format number.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal["live-restore-card/1"] = "live-restore-card/1"
    name: str = Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    version: str = Field("1", max_length=40)
    description: str = ""
    licence: str = ""
    doi: str = Field("", max_length=200, pattern=r"^(10\.[0-9.]{4,20}/\S+)?$")
    """Of what describes it: a paper, or its weights."""
    axes: Literal["NCZYX"] = "NCZYX"
    input_channels: int = Field(1, ge=1, le=_MAX_CHANNELS)
    output_channels: int = Field(1, ge=1, le=_MAX_CHANNELS)
    channel_meaning: tuple[str, ...] = ()
    percentiles: tuple[float, float] = (2.0, 99.9)
    """Percentiles of the raw stack that are 0 and 1 in network units."""
    shape_multiple_zyx: tuple[_Multiple, _Multiple, _Multiple] = (1, 1, 1)
    """Z, Y and X of every input must be multiples of these."""
    overlap_zyx: tuple[_Overlap, _Overlap, _Overlap] = (4, 16, 16)
    """Voxels by which neighbouring tiles should overlap."""
    trained_patch_zyx: tuple[_Patch, _Patch, _Patch] | None = None
    trained_voxel_um: dict[str, tuple[_Micrometres, _Micrometres]] = Field(default_factory=dict)
    """Range of voxel sizes in the training data, keys ``z`` and ``xy``."""
    truth_psf_width: float = Field(1.0, gt=0, le=1)
    """1: it denoises. Below: it was trained to return a point spread function so many times as
    wide, and adds what the optics did not transmit."""
    steps: tuple[str, ...] = ()
    """Of a chain of models, their names in order; the card of a file has none."""
    precision: Literal["fp32", "fp16", "bf16", "mixed"] = "fp32"
    weights_sha256: str = ""
    """Digest of the weights alone, independent of how the file was serialised."""
    architecture: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    envelope: Envelope | None = None
    """Where the model was shown to help; ``None`` when nobody has measured it."""
    envelopes_after: dict[str, Envelope] = Field(default_factory=dict)
    """Where it was shown to help on what other models had made, by the digests of their weights,
    in order, with "+" between."""

    def sharpening_note(self) -> str:
        """Return what a person must know of results that are sharper than the optics, or ""."""
        if self.truth_psf_width == 1:
            return ""
        return (
            f"{self.name} sharpens, to a point spread function {self.truth_psf_width:g} times as "
            "wide: details finer than the optics transmit are its guess, not a measurement"
        )

    def unmeasured_note(self) -> str:
        """Return what a person must know of a model without an envelope, or ""."""
        if self.envelope is not None:
            return ""
        if self.steps:
            return (
                f"nobody has measured where {', then '.join(self.steps)} together help, so that no "
                "stack is called too dark for them: measure it with live-restore-export limits "
                "MODEL MODEL --record"
            )
        return (
            f"nobody has measured where the model {self.name} helps, so that no stack is called "
            "too dark for it: measure it with live-restore-export limits MODEL --record"
        )

    @model_validator(mode="after")
    def _bearable(self) -> ModelCard:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles must be 0 <= low < high <= 100, not {low} and {high}")
        # What devices are checked with repeats itself after so many voxels: 127 x 32 of 127 would
        # ask for gigabytes.
        if math.prod(math.lcm(32, m) for m in self.shape_multiple_zyx) > _MAX_PERIOD_VOXELS:
            raise ValueError(f"no network needs multiples of {self.shape_multiple_zyx}")
        return self
