"""Measuring a camera: its frames from files, and its numbers into the settings."""
