"""A network in kernels of our own, run by the graphics card's driver alone.

``plan`` says what a file of kernels holds, ``kernel_file`` reads one, ``weights`` lays a model's
weights out as kernels take them, ``execution`` runs a plan on a card, and ``cuda_driver`` is the
card. The workshop compiles the files (``live_restore_export.kernels``).
"""
