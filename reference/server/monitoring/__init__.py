"""What a server measures and logs: counters and histograms for Prometheus, the health of each session, log lines."""
