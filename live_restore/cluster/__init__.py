"""Beyond one computer: Dask carries raw stacks to the workers of others, and results back."""
