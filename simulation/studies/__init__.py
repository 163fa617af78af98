"""Experiments of many runs: designs, execution, statistics, figures, tuning.

    outcome = Experiment(scenario, grid({"client.policy.cap_s": [5, 10, 30]}), replications=20).run(workers=-1)
    outcome.points, outcome.pairs("interruption_p99_s")

Read `experiment` first; `design` chooses the points, `execution` runs them (`identity` says which finished rows are of the same
code), `statistics` computes intervals; `study` is the file that `steadywire sweep` reads, `fluid` a storm without machines,
`recorded` figures of runs of real processes. `tuning` builds on them.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from simulation.studies.design import Choice, Range, grid, latin_hypercube, sobol
    from simulation.studies.execution import Progress
    from simulation.studies.experiment import Experiment, Outcome, Precision
    from simulation.studies.plots import distributions, dots
    from simulation.studies.statistics import (
        Interval,
        all_pairs,
        mser,
        paired_interval,
        quantile_interval,
        t_interval,
        wilson_interval,
    )
    from simulation.studies.study import Study, load_study
    from simulation.studies.sweeping import interval, paired, sweep
    from simulation.studies.tuning.report import comparison, settings
    from simulation.studies.tuning.search import tune as tune_study

__all__ = [
    "Choice",
    "Experiment",
    "Interval",
    "Outcome",
    "Precision",
    "Progress",
    "Range",
    "Study",
    "all_pairs",
    "comparison",
    "distributions",
    "dots",
    "grid",
    "interval",
    "latin_hypercube",
    "load_study",
    "mser",
    "paired",
    "paired_interval",
    "quantile_interval",
    "settings",
    "sobol",
    "sweep",
    "t_interval",
    "tune_study",
    "wilson_interval",
]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "Choice": "simulation.studies.design:Choice",
        "Experiment": "simulation.studies.experiment:Experiment",
        "Interval": "simulation.studies.statistics:Interval",
        "Outcome": "simulation.studies.experiment:Outcome",
        "Precision": "simulation.studies.experiment:Precision",
        "Progress": "simulation.studies.execution:Progress",
        "Range": "simulation.studies.design:Range",
        "Study": "simulation.studies.study:Study",
        "all_pairs": "simulation.studies.statistics:all_pairs",
        "comparison": "simulation.studies.tuning.report:comparison",
        "distributions": "simulation.studies.plots:distributions",
        "dots": "simulation.studies.plots:dots",
        "grid": "simulation.studies.design:grid",
        "interval": "simulation.studies.sweeping:interval",
        "latin_hypercube": "simulation.studies.design:latin_hypercube",
        "load_study": "simulation.studies.study:load_study",
        "mser": "simulation.studies.statistics:mser",
        "paired": "simulation.studies.sweeping:paired",
        "paired_interval": "simulation.studies.statistics:paired_interval",
        "quantile_interval": "simulation.studies.statistics:quantile_interval",
        "settings": "simulation.studies.tuning.report:settings",
        "sobol": "simulation.studies.design:sobol",
        "sweep": "simulation.studies.sweeping:sweep",
        "t_interval": "simulation.studies.statistics:t_interval",
        "tune_study": "simulation.studies.tuning.search:tune",
        "wilson_interval": "simulation.studies.statistics:wilson_interval",
    },
)
