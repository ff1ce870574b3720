"""The workshop: train a 3D RCAN, export it to ONNX, verify it.

Nothing in here runs next to a microscope; ``live_restore`` never imports it.
"""

import os

# As in live_restore/inference/backends/__init__.py: ONNX Runtime must not report to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
