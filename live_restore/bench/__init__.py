"""``live-restore bench``: what this computer does with a model, and what it could do."""
