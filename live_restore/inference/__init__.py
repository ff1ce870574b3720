"""Raw stack in, restored stack out: models, devices, and what lies between."""
