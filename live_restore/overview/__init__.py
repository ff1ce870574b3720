"""A watched folder as people look at it: journal and reports put together. Reads only."""
