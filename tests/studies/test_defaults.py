"""The study behind docs/defaults.md: it uses the shipped defaults, and it runs whole at small scale."""

from pathlib import Path

import msgspec
import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.reconnect import FullJitter
from simulation.studies import load_study
from simulation.studies.study import Study, Weighted, parameters_of
from simulation.studies.tuning.search import BASELINE, tune

PINGS = {"client.config.ping_interval_s": 11.5}
"""One of its candidates."""


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
    assert study().set == shipped | {"settle_s": 100}


def test_every_setting_of_the_space_runs_for_the_same_time() -> None:
    """Figures per client-hour are divided by the length of a run, so it must not depend on the setting."""
    space = {path: (parameter.at(0.0), parameter.at(1.0)) for path, parameter in parameters_of(study().parameters).items()}
    for scenario in study().scenarios_of(Path()):
        lengths = {scenario.replace({path: ends[place] for path, ends in space.items()}).end_s for place in (0, 1)}
        assert lengths == {scenario.end_s}


def test_it_asks_at_least_eight_scenarios_of_the_library() -> None:
    assert len({scenario.name for scenario in study().scenarios_of(Path())}) >= 8


def test_three_pings_fit_into_the_silence_that_the_server_allows() -> None:
    longest = max(
        parameters_of(study().parameters)["client.config.ping_interval_s"].at(1.0),
        *(each.get("client.config.ping_interval_s", 0.0) for each in study().tuning.candidates),
    )
    assert 3 * longest <= ServerConfig().silence_max_s


def test_the_alert_for_frequent_fallback_is_a_constraint_and_published_constants_are_kept() -> None:
    (alert,) = study().tuning.constraints
    assert (alert.figure, alert.most) == ("alerts_fallbacks_per_min", 0.5)
    assert set(alert.scenarios) == {scenario.name for scenario in study().scenarios_of(Path())} - {"hotel_wifi", "flapping_proxy"}
    assert study().tuning.keep_baseline


def smaller(each: Weighted | str) -> Weighted | str:
    return each if isinstance(each, str) or each.scale is None else msgspec.structs.replace(each, scale=2 * each.scale)


@pytest.mark.slow
@pytest.mark.parallel
def test_it_runs_whole_at_small_scale() -> None:
    """Every world, the storms with half of the clients that the study has; four trials, and one candidate in the finals."""
    asked = msgspec.structs.replace(
        study().tuning,
        trials=4,
        batch=4,
        finalists=2,
        final_replications=5,
        final_replications_max=5,
        candidates=(PINGS,),
        compare_presets=False,
    )
    small = msgspec.structs.replace(study(), scenarios=tuple(map(smaller, study().scenarios)), tune=asked)
    tuned = tune(small, Path(), workers=1)
    assert tuned.baseline.is_feasible, "the constants keep the alert for frequent fallback silent"
    assert tuned.best is not None
    assert tuned.best.name == BASELINE, "nothing is better by more than delta"
    assert PINGS in [each.point for each in tuned.finalists]
