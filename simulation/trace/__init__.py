"""The trace of one run, simulated or real: records, how they are written, and queries on them."""
