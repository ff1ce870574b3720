"""Restoring on other computers: real schedulers, workers and watchers on loopback."""
