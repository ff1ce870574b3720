"""Checks whether this computer is ready to restore."""
