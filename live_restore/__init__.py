"""live-restore: low-light microscope stacks restored as they arrive."""

__version__ = "0.1.0"
