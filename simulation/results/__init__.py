"""What came of a run, as tidy pandas frames, counts, figures and diagrams."""
