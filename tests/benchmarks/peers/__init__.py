"""Servers to compare ours with: the same room, on well-known libraries."""
