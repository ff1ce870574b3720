"""How stacks lie on disk: which planes are there, and reading them. One table, one seam each."""
