"""Everything that can be set, and reading it."""
