"""Simulated stacks: structures, optics, exposures."""
