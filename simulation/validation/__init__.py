"""`steadywire verify`: compares the simulator with every closed form of `simulation.validation.closed_forms`.

experiment     the definition of an experiment, and when a number agrees
experiments    the experiments, by subject: `clients` and `network`; `worlds` has helpers for still worlds
catalogue      all of them, over ranges of their parameters
run            replications, spread over processes
report         the table, for a terminal, for a page and as JSON
figures        the same, drawn
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from simulation.validation.closed_forms import backoff, queues
    from simulation.validation.experiment import REPLICATIONS_MIN, STANDARD_ERRORS_MAX
    from simulation.validation.experiments.clients.policies import POLICIES, Policy
    from simulation.validation.experiments.clients.reconnecting import AfterAnOutage
    from simulation.validation.experiments.network.losing import Bursts, Repeats
    from simulation.validation.experiments.network.queueing import Bottleneck
    from simulation.validation.experiments.network.transport import Dialling, Silence
    from simulation.validation.figures import against_theory, agreement, as_table
    from simulation.validation.run import verify

__all__ = [
    "POLICIES",
    "REPLICATIONS_MIN",
    "STANDARD_ERRORS_MAX",
    "AfterAnOutage",
    "Bottleneck",
    "Bursts",
    "Dialling",
    "Policy",
    "Repeats",
    "Silence",
    "against_theory",
    "agreement",
    "as_table",
    "backoff",
    "queues",
    "verify",
]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "POLICIES": "simulation.validation.experiments.clients.policies:POLICIES",
        "REPLICATIONS_MIN": "simulation.validation.experiment:REPLICATIONS_MIN",
        "STANDARD_ERRORS_MAX": "simulation.validation.experiment:STANDARD_ERRORS_MAX",
        "AfterAnOutage": "simulation.validation.experiments.clients.reconnecting:AfterAnOutage",
        "Bottleneck": "simulation.validation.experiments.network.queueing:Bottleneck",
        "Bursts": "simulation.validation.experiments.network.losing:Bursts",
        "Dialling": "simulation.validation.experiments.network.transport:Dialling",
        "Policy": "simulation.validation.experiments.clients.policies:Policy",
        "Repeats": "simulation.validation.experiments.network.losing:Repeats",
        "Silence": "simulation.validation.experiments.network.transport:Silence",
        "against_theory": "simulation.validation.figures:against_theory",
        "agreement": "simulation.validation.figures:agreement",
        "as_table": "simulation.validation.figures:as_table",
        "backoff": "simulation.validation.closed_forms.backoff",
        "queues": "simulation.validation.closed_forms.queues",
        "verify": "simulation.validation.run:verify",
    },
)
