"""Which variants are not used any more, and why."""

from __future__ import annotations

from live_restore.errors import DeviceError, InferenceError, ModelError
from live_restore.inference.backends.backend import Variant

Failure = DeviceError | ModelError | InferenceError
"""What a variant can fail with."""
FAILURES = (DeviceError, ModelError, InferenceError)
"""The same, to be caught."""


class WrongNumbersError(DeviceError):
    """A device that works, but computes something else."""


class LostError(DeviceError):
    """A device that worked, and does not any more."""


def bare(error: Failure) -> Failure:
    """Return an error to be kept: its frames would keep sessions, and a GPU's memory, with it."""
    return type(error)(error.what, error.path, error.remedy)


class Refusals:
    """Variants that were tried and failed: none of them is used again, for tiles of no shape."""

    def __init__(self) -> None:
        self._reasons: dict[Variant, Failure] = {}

    def __contains__(self, variant: Variant) -> bool:
        return variant in self._reasons

    def add(self, variant: Variant, error: Failure) -> None:
        """Refuse a variant."""
        self._reasons[variant] = bare(error)

    def summary(self) -> str:
        """Return who is refused and why, those with one reason together; "" where nobody is."""
        together: dict[str, list[str]] = {}
        for variant, error in self._reasons.items():
            together.setdefault(error.reason, []).append(str(variant))
        return "; ".join(f"{', '.join(who)}: {why}" for why, who in together.items())

    def of_backend(self, name: str) -> str:
        """Return why a backend's ordinary way was refused first, or "" where it was not."""
        reasons = (
            error.reason
            for variant, error in self._reasons.items()
            if variant.backend.name == name and not variant.form
        )
        return next(reasons, "")

    def warnings(self) -> list[str]:
        """Return what a person must know: devices that do not do what they seem to do.

        Of a device's forms that is expected, and :meth:`summary` names them.
        """
        return [
            f"{variant} is not used: {error.what}"
            for variant, error in self._reasons.items()
            if isinstance(error, (WrongNumbersError, LostError)) and not variant.form
        ]
