"""ONNX files of our networks: written, reduced in precision, evaluated, verified, packed."""
