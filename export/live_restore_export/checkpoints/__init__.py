"""Read trained 3D RCAN weights, whoever trained them, without running anything stored in them."""

from live_restore_export.checkpoints.base import ArchitectureFlags, Checkpoint
from live_restore_export.checkpoints.find import load_checkpoint

__all__ = ["ArchitectureFlags", "Checkpoint", "load_checkpoint"]
