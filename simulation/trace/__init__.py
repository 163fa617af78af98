"""The trace of one run, simulated or real: its records, how they are written, and queries on them."""
