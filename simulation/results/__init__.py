"""Results of a run: tidy pandas frames, counts, figures and sequence diagrams.

    frames = Frames(result.trace_index)
    frames["messages"], frames["summary"]
    latency_and_delivery(frames, "elevator, seed 7")

Read `frames` first; `columns` is how a frame is made, `connection_frames`, `message_frames` and `metric_frames` are the tables.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from simulation.results.counts import Counts, count
    from simulation.results.diagrams import message_log_of, sequence_diagram
    from simulation.results.frames import Frames, summary, write_parquet
    from simulation.results.measures import alerts
    from simulation.results.plots import latency_and_delivery, save
    from simulation.results.recovery import recoveries
    from simulation.results.world_colours import REAL, SIMULATED, health_table, latencies, one_clients_cut, side_by_side

__all__ = [
    "REAL",
    "SIMULATED",
    "Counts",
    "Frames",
    "alerts",
    "count",
    "health_table",
    "latencies",
    "latency_and_delivery",
    "message_log_of",
    "one_clients_cut",
    "recoveries",
    "save",
    "sequence_diagram",
    "side_by_side",
    "summary",
    "write_parquet",
]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "Counts": "simulation.results.counts:Counts",
        "Frames": "simulation.results.frames:Frames",
        "REAL": "simulation.results.world_colours:REAL",
        "SIMULATED": "simulation.results.world_colours:SIMULATED",
        "alerts": "simulation.results.measures:alerts",
        "count": "simulation.results.counts:count",
        "health_table": "simulation.results.world_colours:health_table",
        "latencies": "simulation.results.world_colours:latencies",
        "latency_and_delivery": "simulation.results.plots:latency_and_delivery",
        "message_log_of": "simulation.results.diagrams:message_log_of",
        "one_clients_cut": "simulation.results.world_colours:one_clients_cut",
        "recoveries": "simulation.results.recovery:recoveries",
        "save": "simulation.results.plots:save",
        "sequence_diagram": "simulation.results.diagrams:sequence_diagram",
        "side_by_side": "simulation.results.world_colours:side_by_side",
        "summary": "simulation.results.frames:summary",
        "write_parquet": "simulation.results.frames:write_parquet",
    },
)
