"""Experiments about what clients do: waits between attempts, storms, detectors, outboxes, polls. `policies` first."""
