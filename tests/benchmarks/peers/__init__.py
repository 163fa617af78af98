"""Servers that ours is measured beside: the same room, on well-known libraries."""
