"""How good is a model? Gain over raw, by stack and light."""
