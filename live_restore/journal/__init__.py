"""What has been seen, leased, restored, refused, and why: SQLite, one file per watched folder."""
