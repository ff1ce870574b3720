"""Emitters and a camera: what the demo and the training simulator are both made of."""
