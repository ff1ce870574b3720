"""The envelope of a model: sweeps until restoration stops helping, and what they mean."""
