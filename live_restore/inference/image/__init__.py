"""A stack's grey values on their way through the network: scale, tiles, windows."""
