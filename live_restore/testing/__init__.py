"""What plug-in authors test with: compliance suites and fakes."""
