"""Runs all replications of all experiments in worker processes. The numbers do not depend on how many there are.

Of some hundred correct numbers, one may be too far off by chance. So an experiment with a number that differs is run a second
time, with new random numbers and `AGAIN` times as many replications, twice as precise, and that run counts: a real difference
becomes clearer, a random one disappears. The number's note has the result of the first run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from joblib import Parallel, delayed

from simulation.validation.experiment import REPLICATIONS_MIN, NotAsSetUp, Number, Observed, TheoryExperiment, judge

AGAIN = 4


def verify(
    experiments: Sequence[TheoryExperiment],
    *,
    seed: int,
    is_quick: bool = False,
    jobs: int = 1,
    done: Callable[[list[Number]], None] | None = None,
) -> list[Number]:
    """Run and judge. `done` is called with each experiment's numbers, in the order of the experiments."""
    tasks = [(experiment, replication) for experiment in experiments for replication in range(_count(experiment, is_quick))]
    observations = _observe_all(tasks, seed, jobs)
    numbers = []
    for experiment in experiments:
        observed = [next(observations) for _ in range(_count(experiment, is_quick))]
        judged = judge(experiment, observed, is_quick=is_quick)
        if any(number.verdict == "differs" for number in judged) and len(observed) >= REPLICATIONS_MIN:
            judged = _again(experiment, judged, seed, jobs)
        numbers += judged
        if done is not None:
            done(judged)
    return numbers


def _again(experiment: TheoryExperiment, before: list[Number], seed: int, jobs: int) -> list[Number]:
    count = AGAIN * before[0].replications
    fresh = [(experiment, replication) for replication in range(before[0].replications, before[0].replications + count)]
    judged = judge(experiment, list(_observe_all(fresh, seed, jobs)), is_quick=False)
    noted = []
    for number, first in zip(judged, before, strict=True):
        said = f"a second run; the first, of {first.replications} replications, gave {first.estimate:.5g} (z {first.z:+.2f})"
        noted.append(replace(number, note="; ".join(filter(None, (number.note, said if first.verdict == "differs" else "")))))
    return noted


def _count(experiment: TheoryExperiment, is_quick: bool) -> int:
    return min(REPLICATIONS_MIN, experiment.replications) if is_quick else experiment.replications


def _observe_all(tasks: Sequence[tuple[TheoryExperiment, int]], seed: int, jobs: int) -> Iterator[Observed]:
    if jobs == 1:
        for experiment, replication in tasks:
            yield _observe(experiment, seed, replication)
        return
    parallel = Parallel(n_jobs=jobs, return_as="generator", batch_size=4, pre_dispatch="all")
    yield from parallel(delayed(_observe)(experiment, seed, replication) for experiment, replication in tasks)


def _observe(experiment: TheoryExperiment, seed: int, replication: int) -> Observed:
    try:
        return experiment.observe(experiment.seed(seed), replication)
    except NotAsSetUp as error:
        return f"replication {replication}: {error}"
