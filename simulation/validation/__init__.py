"""`steadywire verify`: does the simulator reproduce what is known? Every closed form of `simulation.validation.closed_forms`
against it.

experiment     what an experiment is, and when a number agrees
worlds         worlds in which nothing happens but what an experiment is about
policies       reconnect policies, as shipped and as the theory has them
reconnecting, roaming, herding, queueing, losing, detecting, polls, outboxes, late, streams, transport
               the experiments, by what they are about
catalogue      all of them, over ranges of their parameters
run            replications, spread over processes
report         the table, for a terminal, for a page and as JSON
command        the command
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from simulation.validation.closed_forms import backoff, queues
    from simulation.validation.experiment import REPLICATIONS_MIN, STANDARD_ERRORS_MAX
    from simulation.validation.experiments.losing import Bursts, Repeats
    from simulation.validation.experiments.policies import POLICIES, Policy
    from simulation.validation.experiments.queueing import Bottleneck
    from simulation.validation.experiments.reconnecting import AfterAnOutage
    from simulation.validation.experiments.transport import Dialling, Silence
    from simulation.validation.figures import against_theory, agreement
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
    "backoff",
    "queues",
    "verify",
]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "POLICIES": "simulation.validation.experiments.policies:POLICIES",
        "REPLICATIONS_MIN": "simulation.validation.experiment:REPLICATIONS_MIN",
        "STANDARD_ERRORS_MAX": "simulation.validation.experiment:STANDARD_ERRORS_MAX",
        "AfterAnOutage": "simulation.validation.experiments.reconnecting:AfterAnOutage",
        "Bottleneck": "simulation.validation.experiments.queueing:Bottleneck",
        "Bursts": "simulation.validation.experiments.losing:Bursts",
        "Dialling": "simulation.validation.experiments.transport:Dialling",
        "Policy": "simulation.validation.experiments.policies:Policy",
        "Repeats": "simulation.validation.experiments.losing:Repeats",
        "Silence": "simulation.validation.experiments.transport:Silence",
        "against_theory": "simulation.validation.figures:against_theory",
        "agreement": "simulation.validation.figures:agreement",
        "backoff": "simulation.validation.closed_forms.backoff",
        "queues": "simulation.validation.closed_forms.queues",
        "verify": "simulation.validation.run:verify",
    },
)
