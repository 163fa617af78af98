"""When a number agrees, and when the comparison is too weak to decide."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest

from simulation.random import RandomStreams
from simulation.validation.experiment import STANDARD_ERRORS_MAX, Expected, NotAsSetUp, Number, TheoryExperiment, judge
from simulation.validation.run import verify


@dataclass(frozen=True, kw_only=True)
class Noise(TheoryExperiment):
    """Means of uniform draws, beside what is said to be expected."""

    family: ClassVar[str] = "noise"
    said: float = 0.5
    samples: int = 100
    allowed: float = 0.05

    def expected(self) -> dict[str, Expected]:
        return {"mean": Expected(self.said, "s", self.allowed), "one": Expected(1.0, "", 1e-12)}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        random_source = RandomStreams(seed, replication).of("noise")
        return {
            "mean": sum(random_source.uniform("u", index) for index in range(self.samples)) / self.samples,
            "one": 1.0 + 1e-10,
        }


class Fails(Noise):
    def observe(self, seed: int, replication: int) -> dict[str, float]:
        if replication % 50 == 7:
            raise NotAsSetUp("the world stood still")
        return super().observe(seed, replication)


def verdicts(experiment: TheoryExperiment, *, is_quick: bool = False) -> list[str]:
    return [number.verdict for number in verify([experiment], seed=1, is_quick=is_quick)]


def test_what_is_right_agrees() -> None:
    mean, one = verify([Noise()], seed=1)
    assert (mean.verdict, one.verdict) == ("agrees", "agrees")
    assert mean.standard_error == pytest.approx(math.sqrt(1 / 12 / 100 / 100), rel=0.3)
    assert mean.z == pytest.approx((mean.estimate - 0.5) / mean.standard_error)
    assert (one.standard_error, one.z) == (0.0, 0.0), "what differs by rounding alone is exact"


def test_what_is_wrong_differs() -> None:
    assert verdicts(Noise(said=0.48)) == ["differs", "agrees"]
    number, _ = verify([Noise(said=0.48)], seed=1, is_quick=True)
    assert number.replications == 4 * 30
    assert number.note.startswith("a second run; the first, of 30 replications, gave 0.")


class UnluckyAtFirst(Noise):
    """Right, but for the replications of the first quick run."""

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        values = super().observe(seed, replication)
        return {"mean": values["mean"] + (0.05 if replication < 30 else 0.0), "one": values["one"]}


def test_a_chance_difference_is_gone_when_it_is_looked_at_again() -> None:
    number, _ = verify([UnluckyAtFirst()], seed=1, is_quick=True)
    assert number.verdict == "agrees"
    assert "the first, of 30 replications, gave 0.5" in number.note


def test_a_weak_comparison_fails_too() -> None:
    assert verdicts(Noise(samples=1, allowed=0.01)) == ["too imprecise", "agrees"]


def test_a_quick_run_allows_for_its_fewer_replications() -> None:
    just_enough = Noise(allowed=1.3 * math.sqrt(1 / 12 / 100 / 100) / 0.5)
    assert verdicts(just_enough, is_quick=True) == ["agrees", "agrees"]


def test_a_constant_that_is_wrong_differs() -> None:
    number = only(judge(Constant(), [{"it": 2.0}] * 20, is_quick=False))
    assert (number.verdict, number.z) == ("differs", math.inf)
    assert only(judge(Constant(), [{"it": math.nan}] * 20, is_quick=False)).verdict == "differs"


def test_one_replication_that_gave_nothing_is_enough_to_fail() -> None:
    mean, _ = verify([Fails()], seed=1)
    assert mean.verdict == "differs"
    assert mean.note.startswith("replication 107: the world stood still; a second run")


def test_experiments_share_no_draw() -> None:
    seeds = [Noise(samples=samples).seed(seed) for samples in (10, 11) for seed in (1, 2)]
    assert len(set(seeds)) == 4


@pytest.mark.slow  # it starts some
@pytest.mark.parallel
def test_the_number_of_processes_changes_nothing() -> None:
    experiments = [Noise(), Noise(samples=10)]
    assert verify(experiments, seed=3, jobs=2) == verify(experiments, seed=3, jobs=1)


def test_three_standard_errors_and_a_bit_is_one_false_alarm_in_four_hundred() -> None:
    """Of one run: `verify` makes a second one, which leaves none."""
    runs = 400
    singles = [Single(index=index) for index in range(runs)]
    numbers = [only(judge(each, [each.observe(each.seed(5), number) for number in range(30)], is_quick=True)) for each in singles]
    z = sorted(abs(number.z) for number in numbers)
    # z is nearly Student's t with 29 degrees of freedom: its variance is 29 / 27, and P(|t| > 2) is 0.055.
    assert sum(each**2 for each in z) / runs == pytest.approx(29 / 27, abs=0.25)
    assert sum(each > 2 for each in z) / runs == pytest.approx(0.055, abs=0.03)
    assert sum(not number.is_right for number in numbers) == sum(each > STANDARD_ERRORS_MAX for each in z) <= 4


@dataclass(frozen=True, kw_only=True)
class Constant(TheoryExperiment):
    family: ClassVar[str] = "constant"

    def expected(self) -> dict[str, Expected]:
        return {"it": Expected(1.0, "")}


@dataclass(frozen=True, kw_only=True)
class Single(TheoryExperiment):
    family: ClassVar[str] = "single"
    index: int

    def expected(self) -> dict[str, Expected]:
        return {"it": Expected(0.5, "", 1.0)}

    def observe(self, seed: int, replication: int) -> dict[str, float]:
        random_source = RandomStreams(seed, replication).of("single")
        return {"it": (random_source.uniform("u", 0) + random_source.uniform("u", 1)) / 2}


def only(numbers: list[Number]) -> Number:
    (number,) = numbers
    return number
