"""`steadywire fluid`: computes a reconnect storm as a fluid, and prints its figures beside those of the machines."""

import time
from collections.abc import Sequence

from rich.table import Table

from reference.cli.output import Output
from simulation.cli.changes import changed_scenario
from simulation.results.html import shown
from simulation.scenario.scaling import scaled
from simulation.studies.fluid import distance, fluid, without_fallback

FINISHED = 0


def fluid_command(
    named: str, changes: Sequence[str], *, clients: int | None, compare: Sequence[int], replications: int, workers: int
) -> int:
    """Returns 0. Raises ConfigError."""
    scenario = without_fallback(changed_scenario(named, changes))
    if clients is not None:
        scenario = scaled(scenario, sum(group.clients for group in scenario.groups) / clients)
    console = Output()
    began = time.perf_counter()
    storm = fluid(scenario)
    took_s = time.perf_counter() - began
    console.print(f"{scenario.name}: {storm.clients} clients as a fluid, {took_s:.1f} s; nobody polls", highlight=False)
    table = Table("figure", "fluid")
    for name, value in storm.figures.items():
        table.add_row(name, shown(value))
    console.print(table)
    if compare:
        frame = distance(scenario, compare, replications=replications, workers=workers)
        beside = Table(*map(str, frame.columns), title="beside the machines", title_justify="left")
        for row in frame.itertuples(index=False):
            beside.add_row(*map(shown, row))
        console.print(beside)
    return FINISHED
