"""Runtimes and devices, one file each; ``table.py`` lists them, ``backend.py`` says what they are.

ONNX Runtime's builds report to their maker: they write a device id and a database of events into
the user's cache folder and look up a host's name. Only this variable, set before the import, keeps
them from it (measured with 1.31: the call that disables it comes too late). This package is
imported before ONNX Runtime wherever that is used.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
