"""All experiments of `steadywire verify`, over ranges of their parameters."""

from simulation.verify.detecting import HalfOpenConnection
from simulation.verify.experiment import Experiment
from simulation.verify.herding import AfterALongOutage, UniformSpread
from simulation.verify.outboxes import OverflowInAnOutage
from simulation.verify.polls import PlainPolling
from simulation.verify.reconnecting import AfterAnOutage

EXPERIMENTS: tuple[Experiment, ...] = (
    AfterAnOutage(policy="ours", outage_mean_s=5.0),
    AfterAnOutage(policy="ours", outage_mean_s=60.0, attempts=5),
    AfterAnOutage(policy="ours", outage_mean_s=5.0, latency_s=0.1),
    AfterAnOutage(policy="full jitter", outage_mean_s=0.5, attempts=1),
    AfterAnOutage(policy="full jitter", outage_mean_s=5.0, attempts=5),
    UniformSpread(clients=200, spread_s=1.0, bins=20),
    UniformSpread(clients=100, spread_s=10.0, bins=50),
    AfterALongOutage(floor_s=0.25, cap_s=5.0),
    AfterALongOutage(floor_s=3.0, cap_s=4.0),
    HalfOpenConnection(interval_s=10.0, timeout_s=10.0, round_trip_s=0.1),
    HalfOpenConnection(interval_s=5.0, timeout_s=2.0, round_trip_s=1.0),
    PlainPolling(interval_s=2.0, round_trip_s=0.1),
    PlainPolling(interval_s=1.0, round_trip_s=0.6),
    OverflowInAnOutage(limit=30, messages_per_s=1.0, outage_mean_s=20.0),
    OverflowInAnOutage(limit=5, messages_per_s=2.0, outage_mean_s=5.0),
)

FAMILIES: tuple[str, ...] = tuple(dict.fromkeys(experiment.family for experiment in EXPERIMENTS))


def chosen(families: tuple[str, ...]) -> tuple[Experiment, ...]:
    """The experiments of these families; of all if none is named."""
    return tuple(experiment for experiment in EXPERIMENTS if not families or experiment.family in families)
