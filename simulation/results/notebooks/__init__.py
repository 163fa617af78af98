"""Building blocks of notebooks, which define no longer functions of their own.

findings   `parameters` that a reader may change, and each `finding` that is checked with them
charts     lines with intervals, and trade-offs of two figures
worlds     one run on real sockets and simulated, side by side
shapes     tables in the form that charts need
"""
