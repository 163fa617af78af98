"""Building blocks of notebooks: parameters that a reader may change, findings that are checked, and charts.

figure     a matplotlib figure that displays itself; the palette
findings   `parameters` and `finding`
charts     lines with intervals, and trade-offs of two figures
"""
