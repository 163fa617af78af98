"""Fidelity: the same scenario in virtual time and with real processes, compared as distributions.

    twin         a scenario simulated, and run with the same publishes and faults by real processes on an emulated network
    measures     what is compared: delivery latency, round trip, recovery time, reconnections; read from any trace
    comparison   quantiles of both and their differences, with bootstrap intervals
    calibration  the costs of this machine, fitted from a short real run, for the simulated server
    report       the tables, for a reader and as JSON

The commands are `steadywire fidelity` and `steadywire calibrate` (`simulation.cli.fidelity`). Both sides are traces in the
same format and are measured by the same functions.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from simulation.processes.fidelity.comparison import compare
    from simulation.processes.fidelity.measures import measure
    from simulation.processes.fidelity.twin import play_both

__all__ = ["compare", "measure", "play_both"]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "compare": "simulation.processes.fidelity.comparison:compare",
        "measure": "simulation.processes.fidelity.measures:measure",
        "play_both": "simulation.processes.fidelity.twin:play_both",
    },
)
