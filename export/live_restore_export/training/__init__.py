"""Training: from simulated or measured stacks to a checkpoint that knows how it came about."""
