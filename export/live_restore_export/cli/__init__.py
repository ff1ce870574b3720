"""The workshop's command line: a file per command. Nothing else in the workshop prints."""
