"""Read trained 3D RCAN weights, whoever trained them, without running anything stored in them."""

from export.checkpoints.base import ArchitectureFlags, Checkpoint
from export.checkpoints.find import load_checkpoint

__all__ = ["ArchitectureFlags", "Checkpoint", "load_checkpoint"]
