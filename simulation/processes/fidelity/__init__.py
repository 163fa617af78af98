"""Is the simulator faithful? The same scenario in virtual time and as real processes, and the two compared as distributions.

    twin         a scenario simulated, and the same publishes and faults played by real processes on an emulated network
    measures     what is compared: delivery latency, round trip, recovery time, reconnections; read from any trace
    comparison   quantiles of both and their differences, with bootstrap intervals
    calibration  the costs of this machine, fitted from a short real run: what the simulated server is given for comparison
    report       the tables, for a reader and as JSON
    command      `steadywire fidelity` and `steadywire calibrate`

Both sides are traces in the same words and are measured by the same functions; nothing here knows which one it looks at.
"""
