"""One model, to be opened on any variant."""

from __future__ import annotations

from dataclasses import dataclass, field

from live_restore.errors import DeviceError
from live_restore.inference.backends.backend import Limits, ModelSource, TakesCounts, Variant
from live_restore.inference.backends.session import CountsSession, Session, Shape5
from live_restore.inference.model.card import ModelCard


@dataclass(frozen=True)
class Opener:
    """Opens sessions of one model.

    Parameters
    ----------
    source, card
        The model.
    trusted
        Float32 on the CPU; takes tiles of any shape.
    limits
        What sessions may take of the computer.
    """

    source: ModelSource
    card: ModelCard
    trusted: Session
    limits: Limits = field(default_factory=Limits)

    def is_trusted(self, variant: Variant) -> bool:
        """Return whether a variant is the trusted session itself."""
        return variant.backend.name == self.trusted.device.name

    def open(self, variant: Variant, shape: Shape5) -> Session:
        """Return a session for tiles of one shape.

        Raises
        ------
        ModelError, DeviceError
            As :meth:`Backend.open`.
        """
        if self.is_trusted(variant):
            return self.trusted
        return variant.backend.open(
            self.source, shape, variant.precision, variant.index, self.limits
        )

    def open_counts(self, variant: Variant, shape: Shape5) -> CountsSession:
        """Return a session for tiles of grey values; raises as :meth:`TakesCounts.open_counts`."""
        if not isinstance(variant.backend, TakesCounts):
            raise DeviceError(f"{variant.backend.name} takes no grey values")
        return variant.backend.open_counts(
            self.source, shape, variant.precision, variant.index, self.limits
        )
