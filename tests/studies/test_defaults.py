"""The study behind docs/defaults.md: it uses the shipped defaults, and its finding holds at small scale."""

from pathlib import Path

import msgspec
import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.reconnect import FullJitter
from simulation.studies import load_study
from simulation.studies.statistics import paired_interval
from simulation.studies.study import Study, Weighted
from simulation.studies.tuning.evaluation import Evaluator
from simulation.studies.tuning.question import Scorer, mean_figures

REPLICATIONS = 3
STORMS = ("load_balancer_cut", "server_restart")
"""With groups that are large enough to be a quarter of what the study has."""
FINDING = {"client.config.fallback_after_failures": 3, "client.config.ping_interval_s": 12.0}


def study() -> Study:
    return load_study(Path("defaults"))


def test_scores_are_relative_to_what_is_shipped() -> None:
    client, server, policy = ClientConfig(), ServerConfig(), FullJitter()
    shipped = {
        "client.policy": {"kind": "full_jitter", **{name: getattr(policy, name) for name in policy.__struct_fields__}},
        "server.config.first_spread_s": server.first_spread_s,
        **{
            f"client.config.{name}": getattr(client, name)
            for name in ("first_spread_s", "fallback_after_failures", "ping_interval_s", "ping_timeout_s")
        },
    }
    assert study().set == shipped


def test_it_asks_at_least_eight_scenarios_of_the_library() -> None:
    names = {scenario.name for scenario in study().scenarios_of(Path())}
    assert len(names) >= 8
    assert FINDING in study().tuning.candidates


def at_quarter(each: Weighted) -> Weighted:
    return msgspec.structs.replace(each, scale=4 * (each.scale or 1))


@pytest.mark.slow
def test_the_finding_holds_at_small_scale() -> None:
    """The storms at a quarter of the study's size, three replications."""
    scenarios = tuple(
        each if isinstance(each, str) or each.scenario not in STORMS else at_quarter(each) for each in study().scenarios
    )
    small = msgspec.structs.replace(study(), scenarios=scenarios)
    evaluator = Evaluator(small, Path(), workers=1, dask=None, folder=None)
    before, found = evaluator.runs([{}, FINDING], REPLICATIONS, fresh=True)
    means = [mean_figures(runs, small.tuning.figures) for runs in before]
    scorer = Scorer(small.tuning, means, small.weights, evaluator.names)

    def scores(per_scenario: list[list[dict[str, float]]]) -> list[float]:
        return [scorer.score([runs[number] for runs in per_scenario]) for number in range(REPLICATIONS)]

    assert paired_interval(scores(found), scores(before)).high < 0  # type: ignore[arg-type]  # mappings are dicts here
    assert scorer.excesses([mean_figures(runs, small.tuning.figures) for runs in found])[-1] <= 0.05
