"""The workshop: train a 3D RCAN, export it to ONNX, verify it.

Nothing in here runs next to a microscope; ``live_restore`` never imports it.
"""
