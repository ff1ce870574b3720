"""live-restore: low-light microscope stacks restored as they arrive."""

from live_restore.hooks.session import LiveRestore

__all__ = ["LiveRestore"]

__version__ = "0.1.0"
