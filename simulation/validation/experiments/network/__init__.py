"""Experiments about network and server: queues, losses, TCP, shared links, streams."""
