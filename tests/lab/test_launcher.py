"""The launcher's sliders: each changes the simulated scenario, and so the figure."""

from collections.abc import Iterator

import pytest

from simulation.scenario.presets import PRESETS
from simulation.studies.launcher import PRESET, SLIDERS, SpreadThenJitter, StormLauncher, scenario_of

MOVED = {"outage": 6.0, "clients": 40, "base": 2.0, "cap": 2.0, "jitter": 0.5, "spread": 4.0}


@pytest.fixture(scope="module", autouse=True)
def its_preset_goes_again() -> Iterator[None]:
    """The launcher's process is its own; this one has other tests, which list the presets."""
    yield
    PRESETS.pop(PRESET, None)


@pytest.fixture(scope="module")
def launcher() -> StormLauncher:
    return StormLauncher(clients=30)


@pytest.mark.parametrize("name", SLIDERS)
def test_every_slider_changes_the_storm_and_the_figure(launcher: StormLauncher, name: str) -> None:
    before, figure = dict(launcher.summary), launcher.children[2].value
    getattr(launcher, name).value = MOVED[name]
    assert {key: launcher.summary[key] for key in ("back_90_s", "interruption_mean_s")} != {
        key: before[key] for key in ("back_90_s", "interruption_mean_s")
    }
    assert launcher.children[2].value != figure


def test_all_clients_are_connected_when_a_run_ends(launcher: StormLauncher) -> None:
    assert launcher.summary["back_100_s"] is not None
    assert launcher.summary["back_100_s"] == launcher.summary["back_100_s"], "not NaN"


def test_without_jitter_and_spread_all_come_in_one_second() -> None:
    launcher = StormLauncher(clients=60, jitter=0.0, spread=0.0)
    assert launcher.summary["attempts_per_s_max"] >= 60


def test_waits_are_within_their_bounds() -> None:
    class Highest:
        def uniform(self, purpose: str, index: int) -> float:
            return 1 - 1e-12

    from reference.protocol.policies.reconnect import Attempt

    policy = SpreadThenJitter(base_s=1.0, cap_s=5.0, jitter=0.25)
    waits = [policy.wait_s(Attempt(failures, 0.0, 3.0, 0, Highest())) for failures in range(6)]
    assert waits == pytest.approx([3.0, 1.0, 2.0, 4.0, 5.0, 5.0])


def test_its_scenario_is_a_scenario() -> None:
    scenario = scenario_of(outage_s=5, clients=10, base_s=1, cap_s=30, jitter=1.0, spread_s=1)
    assert scenario.client_names
    with pytest.raises(TypeError, match="outage, clients"):
        StormLauncher(oops=1)
