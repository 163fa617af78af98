"""Experiments about clients: waits between attempts, storms, detectors, outboxes, polls. `policies` first."""
