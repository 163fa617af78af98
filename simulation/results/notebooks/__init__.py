"""What notebooks are made of: parameters that a reader may change, findings that say when they no longer hold, and charts.

figure     a matplotlib figure that a notebook shows by itself; the palette
findings   `parameters` and `finding`
charts     lines with intervals, and two figures against each other
"""
