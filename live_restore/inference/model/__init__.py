"""What a model file holds: its card, its envelope, and what must not be in it."""
