"""TIFF files: ImageJ's, OME-TIFF, tifffile's, plain ones."""
