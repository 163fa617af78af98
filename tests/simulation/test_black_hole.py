"""A network that drops everything: the interruption lasts until an answer arrives, whenever polling started."""

import pytest

from reference.protocol.config import ClientConfig
from simulation.results.frames import Frames
from simulation.scenario.faults import Outage
from simulation.scenario.scenario import ClientPart, Group, Scenario
from simulation.world import run


@pytest.mark.parametrize("fallback_after_failures", [1, 5, None])
def test_falling_back_early_does_not_shorten_an_interruption(fallback_after_failures: int | None) -> None:
    config = ClientConfig(fallback_after_failures=fallback_after_failures, connect_timeout_s=5.0)
    scenario = Scenario(
        name="black_hole",
        groups=(Group(name="c", clients=2),),
        faults=(Outage(at_s=20.0, duration_s=300.0),),
        client=ClientPart(config=config),
        horizon_s=400.0,
        settle_s=100.0,
    )
    frames = Frames(run(scenario).trace_index)
    interruptions = frames["interruptions"]
    assert len(interruptions) == 2
    assert interruptions["has_returned"].all()
    # A client notices within ping_interval_s + ping_timeout_s, so it is cut off for at least 280 s.
    assert (interruptions["end_s"] >= 320.0).all()
    assert (interruptions["start_s"] <= 41.0).all()
    states = frames["states"]
    during = states[(states["start_s"] > 41.0) & (states["end_s"] < 320.0)]
    assert not during["is_connected"].any()
