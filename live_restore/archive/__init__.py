"""Archives: thousands of finished stacks, which workers on other computers read and publish."""
