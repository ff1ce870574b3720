"""live-restore: low-light microscope stacks restored as they arrive."""

from live_restore._version import __version__
from live_restore.hooks.session import LiveRestore

__all__ = ["LiveRestore", "__version__"]
