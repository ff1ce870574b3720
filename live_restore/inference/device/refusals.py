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
    """Variants that were tried and failed, for tiles of any size or of one size and more."""

    def __init__(self) -> None:
        self._reasons: dict[Variant, Failure] = {}
        self._from_voxels: dict[Variant, int] = {}

    def refuses(self, variant: Variant, voxels: int) -> bool:
        """Return whether a variant is not used for tiles of so many voxels."""
        return variant in self._reasons and voxels >= self._from_voxels[variant]

    def by_size(self, voxels: int) -> list[Variant]:
        """Return those that failed on tiles as small as that, and not on all tiles."""
        return [each for each, least in self._from_voxels.items() if 0 < least <= voxels]

    def add(self, variant: Variant, error: Failure, from_voxels: int = 0) -> None:
        """Refuse a variant for tiles of so many voxels and more; 0: for all."""
        if from_voxels <= self._from_voxels.get(variant, from_voxels):
            self._reasons[variant] = bare(error)
            self._from_voxels[variant] = from_voxels

    def summary(self) -> str:
        """Return who is refused and why, those with one reason together; "" where nobody is."""
        together: dict[str, list[str]] = {}
        for variant, error in self._reasons.items():
            least = self._from_voxels[variant]
            size = f" (tiles of {least / 1e6:.3g} Mvoxel and more)" if least else ""
            together.setdefault(error.reason + size, []).append(str(variant))
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
