"""A model that is ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from live_restore.inference.backends.session import Session
from live_restore.inference.model.card import ModelCard


@dataclass(frozen=True)
class Model:
    """A warm model: its card, the digest of its file (SHA-256, hex) and a session on a device."""

    path: Path
    digest: str
    card: ModelCard
    session: Session
    steps: tuple[Model, ...] = ()
    """Of a chain, its models in order."""
