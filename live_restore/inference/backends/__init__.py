"""Runtimes and devices, one file each; ``table.py`` lists them, ``backend.py`` defines them."""
