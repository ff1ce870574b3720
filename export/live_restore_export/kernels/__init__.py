"""Kernels of our own for NVIDIA GPUs, written for Triton: right on a processor, timed nowhere yet.

``convolution`` and ``small`` hold the kernels, ``plan`` puts them in order for a network, ``ahead``
compiles them where there is no GPU, ``package`` writes the file that the daemon loads when it is
asked to by name, and ``conventions`` says how they want to be launched. ``fused`` runs a network of
them in PyTorch, for a measurement on a GPU (``benchmarks/gpu/kernels.py``).
"""
