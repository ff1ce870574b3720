"""What lies on disk in the end: restored images and their reports. One seam, one table."""
