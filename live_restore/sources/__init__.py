"""Who says which stacks are complete: a watched folder and the acquisitions in it."""
