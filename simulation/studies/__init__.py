"""Many runs of a scenario: sweeps over parameters, intervals and paired differences, figures of several runs.

runs = sweep(scenario, {"client.policy": [{"preset": "nats"}, {"preset": "steadywire"}]}, replications=20, workers=-1)
interval(runs, "latency_p95_s", by="client.policy")
"""

from simulation.studies.plots import distributions, dots, returns
from simulation.studies.sweep import interval, paired, sweep

__all__ = ["distributions", "dots", "interval", "paired", "returns", "sweep"]
