"""Experiments: one part of the simulator each, set up so that a closed form says what must come out."""
