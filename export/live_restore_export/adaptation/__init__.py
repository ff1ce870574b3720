"""A model learns from a run's own noisy stacks, without any clean image."""
