"""Finished files of microscopes' own programs, read by well-kept packages in a child process."""
