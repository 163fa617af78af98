"""All guarantees at once over one set of drawn worlds: mutation testing runs this one test, which judges everything.

The examples are the same in every run and nothing is shrunk: here it only matters whether something breaks.
"""

from hypothesis import HealthCheck, Phase, given, settings

from simulation.adversary.settling import play
from simulation.adversary.steps import Step
from simulation.adversary.world import Setup
from simulation.testing.schedules import schedules, setups

EXAMPLES = 25


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(setup=setups(), schedule=schedules())
def test_every_guarantee_at_once(setup: Setup, schedule: list[Step]) -> None:
    assert play(setup, schedule) == []
