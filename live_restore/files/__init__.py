"""Disks and names: reading what others wrote, publishing what we write."""
