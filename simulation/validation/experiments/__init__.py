"""Experiments: each tests one part of the simulator for which a closed form gives the expected result."""
