"""The envelope of a model: where it was shown to help, and whether a stack lies inside."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, model_validator

from live_restore.stack import VoxelSize

Range = tuple[float, float]

# A pixel size that was calibrated anew differs by a few percent, and no network sees that.
_VOXEL_SLACK = 1.05


class SweepLimit(BaseModel):
    """What one sweep found: the values that were tried, and those at which the model helped.

    ``helps`` is ``None`` where it helped at none of them.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    quantity: str
    unit: str = ""
    tested: Range
    helps: Range | None = None

    def in_words(self) -> str:
        """Return one phrase, such as ``blur: 1 to 2 (tested 1 to 4)``."""
        unit = f" {self.unit}" if self.unit else ""
        tested = f"(tested {_between(self.tested)})"
        if self.helps is None:
            return f"{self.quantity}: helped nowhere {tested}"
        return f"{self.quantity}: {_between(self.helps)}{unit} {tested}"


class Envelope(BaseModel):
    """Where a model was shown to help, on simulated stacks whose truth is known."""

    model_config = ConfigDict(extra="allow", frozen=True)

    snr: Range | None = Field(
        None, description="range of estimated signal-to-noise ratios; None: it helped at none"
    )
    limits: dict[str, SweepLimit] = Field(default_factory=dict)
    """Per sweep, all else as in the middle of the training."""
    measured: str = ""
    """How it was measured, for people."""

    @model_validator(mode="after")
    def _in_order(self) -> Envelope:
        if self.snr is not None and not 0 <= self.snr[0] <= self.snr[1]:
            raise ValueError(f"snr must be 0 <= lowest <= highest, not {self.snr}")
        return self

    def in_words(self) -> list[str]:
        """Return what a person at the microscope should know, a line each."""
        if self.snr is None:
            first = "at no signal-to-noise ratio was it shown to help"
        else:
            first = (
                "shown to help at signal-to-noise ratios of "
                f"{_between(self.snr)} (estimated on the raw stack)"
            )
        return [first, *(limit.in_words() for limit in self.limits.values())]

    def doubt(self, ratio: float) -> str | None:
        """Return why a stack of this estimated signal-to-noise ratio is doubtful, or ``None``."""
        is_about = f"its signal-to-noise ratio is about {ratio:.1f}"
        if self.snr is None:
            return f"{is_about}; the model was shown to help at none; use the raw stack"
        lowest, highest = self.snr
        if ratio < lowest:
            return (
                f"{is_about}, below the {lowest:.3g} down to which the model was shown to help; "
                "believe no detail that the raw stack does not show, or give it more light"
            )
        if ratio > highest:
            return (
                f"{is_about}, above the {highest:.3g} up to which the model was shown to help; "
                "the raw stack may be the better image"
            )
        return None


def voxel_doubt(voxel: VoxelSize, trained_um: Mapping[str, Range]) -> str | None:
    """Return how a voxel size lies outside what a model was trained on, or ``None``.

    Parameters
    ----------
    voxel
        Of the raw stack; what is unknown is not compared.
    trained_um
        Ranges (um) by the keys ``z`` and ``xy``, as on a card.
    """
    unlike = []
    for name, key, size_um in _sizes(voxel):
        if size_um is None or key not in trained_um:
            continue
        lowest, highest = trained_um[key]
        if not lowest / _VOXEL_SLACK <= size_um <= highest * _VOXEL_SLACK:
            unlike.append(f"{name} {size_um:.3g} um (trained on {_between((lowest, highest))} um)")
    if not unlike:
        return None
    return f"its voxels have another size than the model was trained on: {', '.join(unlike)}"


def unknown_voxel(voxel: VoxelSize, trained_um: Mapping[str, Range]) -> str | None:
    """Return a remark where the size that would have to be compared is not known."""
    missing = [name for name, key, size in _sizes(voxel) if size is None and key in trained_um]
    if not missing:
        return None
    return (
        f"voxel size unknown ({', '.join(missing)}): "
        "whether it is one that the model was trained on cannot be told"
    )


def _sizes(voxel: VoxelSize) -> tuple[tuple[str, str, float | None], ...]:
    return (("z", "z", voxel.z_um), ("y", "xy", voxel.y_um), ("x", "xy", voxel.x_um))


def _between(values: Range) -> str:
    lowest, highest = values
    return f"{lowest:.4g}" if lowest == highest else f"{lowest:.4g} to {highest:.4g}"
