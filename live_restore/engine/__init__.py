"""The way of a stack: from the journal through reading, restoring and publishing back to it."""
