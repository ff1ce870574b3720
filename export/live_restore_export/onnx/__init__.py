"""The network as a graph: PyTorch's, ONNX's, and whether they agree."""
