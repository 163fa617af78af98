"""The guarantees G1 to G13, tested on real sessions and a real run over the adversarial link (depth a).

Each guarantee has worlds of its own, and in each of them all are judged: the report begins with the one that broke. An exception
from a machine, or an alarm that rings for ever, fails them all.
"""

import pytest
from hypothesis import given
from hypothesis import seed as with_seed

from simulation.adversary.ground import Setup
from simulation.adversary.steps import Step
from simulation.checks.checkers import CHECKERS
from simulation.testing import schedules, setups

from .judging import judge_link


@pytest.mark.parametrize("guarantee", CHECKERS)
def test_guarantee(guarantee: str) -> None:
    @with_seed(int(guarantee[1:]))
    @given(setup=setups(), schedule=schedules())
    def holds(setup: Setup, schedule: list[Step]) -> None:
        judge_link(f"test_guarantee_{guarantee}", setup, schedule)

    holds()
