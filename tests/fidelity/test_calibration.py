"""A fit finds the known costs of a simulated machine, and reports when there is nothing to fit."""

import msgspec
import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.policies.reconnect import FullJitter
from simulation.clock import ARRIVAL, Call
from simulation.processes.fidelity.calibration import _PARAMETERS, burst_plan, fan_out_plan, fit, median_of
from simulation.processes.fidelity.costs import MeasuredCosts, load_costs
from simulation.processes.run_plan import Plan
from simulation.scenario.distributions import Constant, Uniform
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart
from simulation.scenario.workload import IDLE
from simulation.trace.trace import Trace
from simulation.world import World

KNOWN = MeasuredCosts(
    hop=Uniform(low=0.001, high=0.003),
    commit_time=Constant(value=0.006),
    frame_cost_s=0.0005,
    delivery_cost_s=0.0008,
    handshake_cost_s=0.004,
)


def simulated(plan: Plan, costs: MeasuredCosts) -> Trace:
    """A plan played in the simulator, on a machine with these costs."""
    groups = tuple(
        Group(name=client.name.rpartition("-")[0] + f"-{index}", path=client.path, arrive_within_s=0)
        for index, client in enumerate(plan.clients)
    )
    scenario = Scenario(
        name="plan",
        seed=plan.seed,
        horizon_s=plan.seconds,
        settle_s=plan.settle_s,
        groups=groups,
        workload=IDLE,
        faults=plan.faults,
        client=ClientPart(config=_PARAMETERS.client, policy=FullJitter(base_s=0.5, cap_s=2.0)),
        server=ServerPart(config=_PARAMETERS.server),
    )
    world = World(costs.applied_to(scenario))
    for client, name in zip(plan.clients, scenario.client_names, strict=True):
        for move in client.moves:
            host = world.clients[name]
            Call(
                world.clock,
                round(move.at_s * 1e9),
                ARRIVAL,
                lambda call: call.argument[0].publish(call.argument[1].event_type, call.argument[1].data),
                (host, move),
            )
    world.run()
    return world.trace


def test_a_fit_finds_the_costs_of_a_simulated_machine() -> None:
    found = fit(simulated(fan_out_plan(1), KNOWN), simulated(burst_plan(1), KNOWN))
    assert found.hop.at(0.5) == pytest.approx(0.002 + 0.0003, rel=0.3)
    assert found.commit_time.at(0.5) == pytest.approx(0.006, rel=0.25)
    assert found.delivery_cost_s == pytest.approx(KNOWN.delivery_cost_s, rel=0.2)
    assert found.frame_cost_s == pytest.approx(KNOWN.frame_cost_s, rel=0.4)
    assert found.handshake_cost_s == pytest.approx(KNOWN.handshake_cost_s, rel=0.3)


def test_one_fit_of_three_that_is_far_off_changes_little() -> None:
    busy = MeasuredCosts(
        hop=Uniform(low=0.1, high=0.3),
        commit_time=Constant(value=0.6),
        frame_cost_s=0.0,
        delivery_cost_s=0.08,
        handshake_cost_s=0.4,
    )
    slower = msgspec.structs.replace(KNOWN, delivery_cost_s=0.0009, commit_time=Constant(value=0.007))
    found = median_of([busy, KNOWN, slower])
    assert (found.frame_cost_s, found.delivery_cost_s, found.handshake_cost_s) == (0.0005, 0.0009, 0.004)
    assert [found.hop.at(quantile) for quantile in (0, 0.5, 0.999)] == pytest.approx([0.001, 0.002, 0.003], rel=0.01)
    assert found.commit_time.at(0.5) == 0.007


def test_costs_survive_their_file(tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's own fixture
    path = tmp_path / "costs.toml"
    path.write_text(KNOWN.to_toml())
    assert load_costs(path) == KNOWN
    path.write_text("hop = 3")
    with pytest.raises(ConfigError, match="is not a costs file"):
        load_costs(path)
    with pytest.raises(ConfigError, match="cannot read"):
        load_costs(tmp_path / "none.toml")


def test_a_scenario_with_costs_of_its_own_is_refused() -> None:
    scenario = Scenario(name="x", groups=(Group(name="g"),), server=ServerPart(commit_time=Constant(value=1)))
    with pytest.raises(ConfigError, match="costs of its own"):
        KNOWN.applied_to(scenario)


def test_a_run_in_which_nothing_was_answered_cannot_be_fitted() -> None:
    slow = MeasuredCosts(
        hop=Constant(value=0), commit_time=Constant(value=3000), frame_cost_s=0, delivery_cost_s=0, handshake_cost_s=0
    )
    with pytest.raises(ConfigError, match="too busy"):
        fit(simulated(fan_out_plan(1), slow), simulated(burst_plan(1), slow))
