"""Runtimes and devices, one file each; ``table.py`` lists them, ``base.py`` says what they are."""
