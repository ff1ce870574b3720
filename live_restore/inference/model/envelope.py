"""The envelope of a model: where it was shown to help."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

Range = tuple[float, float]


class SweepLimit(BaseModel):
    """What one sweep found: the values that were tried, and those at which the model helped.

    ``helps`` is ``None`` where it helped at none of them.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    quantity: str
    unit: str = ""
    tested: Range
    helps: Range | None = None
    keeps_brightness: Range | None = None
    """Where light comes out within 5 %; ``None`` too where it was not measured."""

    def in_words(self) -> str:
        """Return one phrase, such as ``blur: 1 to 2 (tested 1 to 4)``."""
        unit = f" {self.unit}" if self.unit else ""
        tested = f"(tested {range_in_words(self.tested)})"
        if self.helps is None:
            return f"{self.quantity}: helped nowhere {tested}"
        return f"{self.quantity}: {range_in_words(self.helps)}{unit} {tested}"


class Envelope(BaseModel):
    """Where a model was shown to help, on simulated stacks whose truth is known."""

    model_config = ConfigDict(extra="allow", frozen=True)

    snr: Range | None = Field(
        None, description="range of estimated signal-to-noise ratios; None: it helped at none"
    )
    brightness_snr: Range | None = Field(
        None, description="range in which the light of bright regions comes out within 5 %"
    )
    brightness_measured: bool = Field(
        False, description="whether brightness_snr was measured: else nothing is known about it"
    )
    limits: dict[str, SweepLimit] = Field(default_factory=dict)
    """Per sweep, all else as in the middle of the training."""
    measured: str = ""
    """How it was measured, for people."""

    @model_validator(mode="after")
    def _in_order(self) -> Envelope:
        for name in ("snr", "brightness_snr"):
            found = getattr(self, name)
            if found is not None and not 0 <= found[0] <= found[1]:
                raise ValueError(f"{name} must be 0 <= lowest <= highest, not {found}")
        return self

    def in_words(self) -> list[str]:
        """Return what a person at the microscope should know, a line each."""
        if self.snr is None:
            first = "at no signal-to-noise ratio was it shown to help"
        else:
            first = (
                "shown to help at signal-to-noise ratios of "
                f"{range_in_words(self.snr)} (estimated on the raw stack)"
            )
        return [
            first,
            *([self._brightness_in_words()] if self.brightness_measured else []),
            *(limit.in_words() for limit in self.limits.values()),
        ]

    def _brightness_in_words(self) -> str:
        if self.brightness_snr is None:
            return "intensities: nowhere within 5 %; measure brightness in the raw stack"
        return (
            "intensities within 5 % at signal-to-noise ratios of "
            f"{range_in_words(self.brightness_snr)}"
        )


def range_in_words(values: Range) -> str:
    """Return a range as a person writes it.

    >>> range_in_words((0.06, 0.2)), range_in_words((2.0, 2.0))
    ('0.06 to 0.2', '2')
    """
    lowest, highest = values
    return f"{lowest:.4g}" if lowest == highest else f"{lowest:.4g} to {highest:.4g}"
