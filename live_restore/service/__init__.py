"""Watching without anybody there: what the operating system starts, and what restarts it."""
