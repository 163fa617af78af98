"""Two samples compared: equal ones agree, shifted ones do not, and the interval respects clusters."""

import numpy as np

from simulation.processes.fidelity.comparison import Difference, compare
from simulation.processes.fidelity.measures import ComparedMeasure


def measure(values: list[list[float]], *, unit: str = "s", expected: int | None = None) -> ComparedMeasure:
    clusters = tuple(np.array(cluster, dtype=float) for cluster in values)
    return ComparedMeasure("latency", unit, clusters, sum(map(len, values)) if expected is None else expected)


def drawn(seed: int, *, shift: float = 0.0, shared: float = 0.0) -> ComparedMeasure:
    """Fifty clusters of ten samples; `shared`: how much the samples of a cluster have in common."""
    chance = np.random.default_rng(seed)
    causes = chance.exponential(0.1, size=(50, 1)) * shared
    return measure((0.1 + shift + causes + chance.exponential(0.1, size=(50, 10)) * (1 - shared)).tolist())


def only(differences: list[Difference], figure: str) -> Difference:
    return next(each for each in differences if each.figure == figure)


def test_the_same_agrees_and_differs_by_nothing() -> None:
    for difference in compare(drawn(1), drawn(1), seed=1):
        assert difference.agrees
        assert difference.difference == 0
        assert difference.low is not None
        assert difference.high is not None
        assert difference.low <= 0 <= difference.high


def test_a_shift_beyond_the_tolerance_does_not_agree() -> None:
    median = only(compare(drawn(1, shift=0.03), drawn(1), seed=1), "p50")
    assert median.agrees is False
    assert median.difference is not None
    assert abs(median.difference - 0.03) < 1e-9
    assert median.low is not None
    assert median.low > 0


def test_five_milliseconds_are_within_the_tolerance_of_a_short_time() -> None:
    assert only(compare(measure([[0.0049]]), measure([[0.0]]), seed=1), "p50").agrees
    assert only(compare(measure([[0.0051]]), measure([[0.0]]), seed=1), "p50").agrees is False


def test_samples_that_share_a_cause_make_the_interval_wider() -> None:
    def width(shared: float) -> float:
        median = only(compare(drawn(1, shared=shared), drawn(2, shared=shared), seed=1), "p50")
        assert median.low is not None
        assert median.high is not None
        return median.high - median.low

    assert width(0.95) > 2 * width(0.0)


def test_counts_are_compared_by_their_mean() -> None:
    (mean,) = compare(measure([[1.0], [2.0]], unit=""), measure([[1.0], [1.0]], unit=""), seed=1)
    assert (mean.figure, mean.simulated, mean.real, mean.agrees) == ("mean", 1.5, 1.0, False)


def test_without_samples_nothing_is_judged() -> None:
    for difference in compare(measure([], expected=3), drawn(1), seed=1):
        assert difference.agrees is None
        assert difference.difference is None
        assert difference.share_simulated == 0


def test_the_same_seed_gives_the_same_interval() -> None:
    assert compare(drawn(1), drawn(2), seed=5) == compare(drawn(1), drawn(2), seed=5)
