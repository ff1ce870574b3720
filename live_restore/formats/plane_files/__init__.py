"""Folders in which every plane is a file of its own, told apart by their names."""
