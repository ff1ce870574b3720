"""The version, alone: whatever writes it into a file needs nothing else of the package's face."""

__version__ = "0.1.0"
