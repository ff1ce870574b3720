"""How good is a model? What it gains over raw stacks, and what a reduced precision costs it."""
