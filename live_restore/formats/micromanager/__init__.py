"""What Micro-Manager and pycromanager write: image stack files, separate images, NDTiff."""
