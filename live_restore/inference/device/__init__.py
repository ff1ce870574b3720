"""Which device runs a model: measured, checked, kept on disk."""
