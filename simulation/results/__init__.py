"""Results of a run: tidy pandas frames, counts, figures and sequence diagrams.

    frames = Frames(result.trace_index)
    frames["messages"], frames["summary"]
    latency_and_delivery(frames, "elevator, seed 7")

Where to look: `frames` has the tables by name, which `message_frames`, `connection_frames`, `metric_frames` and `measures` make;
`counts`, `recovery` and `outage_figures` compute figures of a whole run; `plots`, `scenario_figures` and `diagrams` draw;
`report` is the page of one run, `player` its animation; `notebooks` has what notebooks share.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from simulation.results.counts import Counts, count
    from simulation.results.diagrams import message_log_of, sequence_diagram
    from simulation.results.figure import ShownFigure
    from simulation.results.frames import Frames, summary, write_parquet
    from simulation.results.measures import alerts
    from simulation.results.notebooks.charts import lines, trade_off
    from simulation.results.notebooks.findings import Parameters, finding, parameters
    from simulation.results.notebooks.shapes import as_points, missed_without_replay, quiet_clients
    from simulation.results.notebooks.worlds import REAL, SIMULATED, health_table, latencies, one_clients_cut, side_by_side
    from simulation.results.plots import latency_and_delivery, save
    from simulation.results.recovery import recoveries

__all__ = [
    "REAL",
    "SIMULATED",
    "Counts",
    "Frames",
    "Parameters",
    "ShownFigure",
    "alerts",
    "as_points",
    "count",
    "finding",
    "health_table",
    "latencies",
    "latency_and_delivery",
    "lines",
    "message_log_of",
    "missed_without_replay",
    "one_clients_cut",
    "parameters",
    "quiet_clients",
    "recoveries",
    "save",
    "sequence_diagram",
    "side_by_side",
    "summary",
    "trade_off",
    "write_parquet",
]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "Counts": "simulation.results.counts:Counts",
        "Frames": "simulation.results.frames:Frames",
        "REAL": "simulation.results.notebooks.worlds:REAL",
        "SIMULATED": "simulation.results.notebooks.worlds:SIMULATED",
        "Parameters": "simulation.results.notebooks.findings:Parameters",
        "ShownFigure": "simulation.results.figure:ShownFigure",
        "alerts": "simulation.results.measures:alerts",
        "as_points": "simulation.results.notebooks.shapes:as_points",
        "count": "simulation.results.counts:count",
        "finding": "simulation.results.notebooks.findings:finding",
        "health_table": "simulation.results.notebooks.worlds:health_table",
        "latencies": "simulation.results.notebooks.worlds:latencies",
        "latency_and_delivery": "simulation.results.plots:latency_and_delivery",
        "lines": "simulation.results.notebooks.charts:lines",
        "message_log_of": "simulation.results.diagrams:message_log_of",
        "missed_without_replay": "simulation.results.notebooks.shapes:missed_without_replay",
        "one_clients_cut": "simulation.results.notebooks.worlds:one_clients_cut",
        "parameters": "simulation.results.notebooks.findings:parameters",
        "quiet_clients": "simulation.results.notebooks.shapes:quiet_clients",
        "recoveries": "simulation.results.recovery:recoveries",
        "save": "simulation.results.plots:save",
        "sequence_diagram": "simulation.results.diagrams:sequence_diagram",
        "side_by_side": "simulation.results.notebooks.worlds:side_by_side",
        "summary": "simulation.results.frames:summary",
        "trade_off": "simulation.results.notebooks.charts:trade_off",
        "write_parquet": "simulation.results.frames:write_parquet",
    },
)
