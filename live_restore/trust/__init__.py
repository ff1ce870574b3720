"""What a stack's numbers mean: signal-to-noise, statistics, doubts."""
