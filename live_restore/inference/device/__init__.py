"""Which device runs a model: measured, checked, remembered."""
