"""The HTTP API: runs (poll, publish, replay), administration, health and its own description."""
