"""Experiments about what the network and the server do to data: queues, losses, TCP, shared lines, recorded streams."""
