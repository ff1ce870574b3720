"""What a stack's numbers mean: signal-to-noise ratio, statistics, doubts; :func:`assess` sums up.

Computed by the worker that restored the stack, so that the writer waits for nothing but the disk.
"""
