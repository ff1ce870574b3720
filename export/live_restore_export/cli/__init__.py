"""The workshop's command line."""
