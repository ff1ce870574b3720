"""OME-Zarr 0.4 and 0.5, as pymmcore-plus writes it and as finished data of any program."""
