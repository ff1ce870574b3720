"""Archives that workers read and publish by themselves."""
