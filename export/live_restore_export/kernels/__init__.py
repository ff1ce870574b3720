"""Kernels of our own for NVIDIA GPUs, written for Triton: right on a processor, timed nowhere yet.

``convolution`` holds the kernels, ``fused`` a whole network of them, ``ahead`` compiles them where
there is no GPU. The daemon does not load them: that waits for a measurement on a GPU
(``benchmarks/gpu/kernels.py``).
"""
