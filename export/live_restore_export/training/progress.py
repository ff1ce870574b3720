"""What a run reports on its way: validations, lines and steps; the command line shows them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol


def gains(raw_db: float, restored_db: float, raw_ssim: float, restored_ssim: float) -> str:
    """Return PSNR (dB) and SSIM before and after, for people."""
    return f"PSNR {raw_db:.2f} -> {restored_db:.2f} dB  SSIM {raw_ssim:.3f} -> {restored_ssim:.3f}"


@dataclass(frozen=True)
class Record:
    """One validation: a line of ``log.jsonl``.

    ``loss`` is the mean since the last one; PSNR (dB) and SSIM are means over the validation
    patches, raw and restored by the averaged weights.
    """

    step: int
    total: int
    minutes: float
    loss: float
    learning_rate: float
    raw_db: float
    restored_db: float
    raw_ssim: float
    restored_ssim: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @property
    def numbers(self) -> str:
        """The numbers, for people."""
        return f"loss {self.loss:.4f}  " + gains(
            self.raw_db, self.restored_db, self.raw_ssim, self.restored_ssim
        )


class Display(Protocol):
    """Shows a run."""

    def report(self, line: str) -> None:
        """Show one line that stays."""
        ...

    def step(self, step: int, total: int) -> None:
        """Show how far it is; called at every step."""
        ...

    def validated(self, record: Record) -> None:
        """Show a validation."""
        ...
