"""The strategies draw everything that they promise and nothing else, and shrink to simple examples."""

import math
import typing
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reference.protocol.events import DEFAULT_REGISTRY, Data, Event, check_data
from reference.protocol.frames import Heartbeat
from reference.protocol.policies import fallback
from reference.protocol.policies import keepalive as heartbeat
from simulation import testing as strategies
from simulation.adversary import steps
from simulation.adversary.world import AdversarialWorld, Setup
from simulation.scenario import distributions as laws_module
from simulation.scenario import faults, population
from simulation.scenario import paths as paths_module
from simulation.scenario import workload as work
from simulation.scenario.drawn_faults import DrawnFaults
from simulation.scenario.paths import BernoulliLoss, Path
from simulation.scenario.presets import PRESETS, SHIPPED
from simulation.scenario.scenario import Region, Scenario, longest_wait_s, parse_scenario
from simulation.testing import frames
from simulation.testing.directed_steps import PLOTS
from simulation.trace.trace import AttemptMade, FaultHappened, QueueSampled
from simulation.world import run

T = TypeVar("T")
WINDOW_MAX = 64
HALF, ONE = laws_module.Constant(value=0.5), laws_module.Constant(value=1.0)

_AS_DRAWN = settings(database=None, phases=[Phase.generate], derandomize=True)
_SHRUNK = settings(database=None, derandomize=True, max_examples=2000)


@given(strategies.payloads())
def test_payloads_are_such_as_a_client_may_publish(data: Data) -> None:
    check_data(data)


@given(strategies.event_lists())
def test_histories_are_what_a_run_could_have(history: list[Event]) -> None:
    assert [event.sequence_number for event in history] == list(range(1, len(history) + 1))
    for event in history:
        DEFAULT_REGISTRY.check_publish(event.event_type, event.data)


@pytest.mark.parametrize("frame_type", frames.SERVER_FRAMES + frames.CLIENT_FRAMES + frames.ANSWER_FRAMES)
def test_every_field_of_a_frame_varies(frame_type: type[msgspec.Struct]) -> None:
    drawn = frames.frames_of(frame_type)
    for field in msgspec.structs.fields(frame_type):
        if field.default is not msgspec.NODEFAULT:
            find(drawn, lambda frame, field=field: getattr(frame, field.name) != field.default, settings=_AS_DRAWN)


@pytest.mark.slow
@pytest.mark.parallel
def test_schedules_are_long_and_shrink_to_nothing() -> None:
    assert len(find(strategies.schedules(), lambda schedule: len(schedule) >= 30, settings=_AS_DRAWN)) >= 30
    assert find(strategies.schedules(), lambda _: True, settings=_SHRUNK) == []


@pytest.mark.slow
@pytest.mark.parallel
def test_a_schedule_shrinks_to_the_one_step_that_matters() -> None:
    def fails(schedule: list[steps.Step]) -> bool:
        return any(isinstance(step, steps.StoreFails) for step in schedule)

    assert find(strategies.schedules(), fails, settings=_SHRUNK) == [steps.StoreFails(0)]


# Every kind of everything is drawn.

IN_SCENARIOS = {
    "distribution": laws_module.Distribution,
    "loss": paths_module.Loss,
    "availability": paths_module.Availability,
    "timing": work.Timing,
    "arrivals": population.Arrivals,
    "fault": faults.Fault,
    "fallback": fallback.Fallback,
    "heartbeat": heartbeat.Heartbeat,
    "what the run draws": DrawnFaults | Region,
}


def parts_of(value: object) -> Iterator[object]:
    """A value and everything inside of it."""
    yield value
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from parts_of(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from parts_of(item)


def drawn_kinds(strategy: SearchStrategy[object], examples: int) -> set[type]:
    kinds: set[type] = set()

    @settings(_AS_DRAWN, max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def look(value: object) -> None:
        kinds.update(type(part) for part in parts_of(value))

    look()
    return kinds


@pytest.fixture(scope="module")
def kinds_in_scenarios() -> set[type]:
    return drawn_kinds(strategies.rich_scenarios(), 400)


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("name", IN_SCENARIOS)
def test_every_kind_stands_in_some_scenario(name: str, kinds_in_scenarios: set[type]) -> None:
    assert set(typing.get_args(IN_SCENARIOS[name])) <= kinds_in_scenarios


def test_schedules_fill_the_widest_window_of_a_client() -> None:
    """64 unanswered publishes, the maximum of any client or server: by one of the plots that stand in schedules."""

    def fills(drawn: tuple[Setup, list[steps.Step]]) -> bool:
        setup, schedule = drawn
        if not WINDOW_MAX == setup.client.unanswered_max == setup.server.unanswered_max:
            return False
        world = AdversarialWorld(setup)
        for step in schedule:
            step.do(world)
        samples = [record for record in world.trace if isinstance(record, QueueSampled)]
        return any(each.queue == "unanswered publishes" and each.length == each.limit == WINDOW_MAX for each in samples)

    find(st.tuples(strategies.setups(), PLOTS["full window"][1]), fills, settings=settings(_AS_DRAWN, max_examples=300))


@pytest.mark.slow
@pytest.mark.parallel
def test_the_adversarial_link_is_given_every_policy_that_a_system_uses() -> None:
    used = {type(preset.policy) for name, preset in PRESETS.items() if name in SHIPPED}
    kinds = drawn_kinds(strategies.setups(), 800)
    assert used | set(typing.get_args(fallback.Fallback)) | set(typing.get_args(heartbeat.Heartbeat)) <= kinds


@given(strategies.rich_scenarios())
def test_a_scenario_is_valid_and_comes_back_from_its_text(scenario: Scenario) -> None:
    assert parse_scenario(scenario.to_toml()) == scenario
    assert parse_scenario(scenario.to_json()) == scenario


def test_hurried_policies_keep_their_shape() -> None:
    for name in SHIPPED:
        policy = PRESETS[name].policy
        quick = strategies.hurried(policy, 4.0)
        assert longest_wait_s(quick, math.inf) <= 4.01
        assert type(quick) is type(policy)
        gives_up = [[each.range_s(failures) is None for failures in range(100)] for each in (policy, quick)]
        assert gives_up[0] == gives_up[1]


# What is found shrinks to the simplest that shows it.


def smallest(strategy: SearchStrategy[T], shows: Callable[[T], bool]) -> T:
    return find(strategy, shows, settings=settings(_SHRUNK, max_examples=1000, suppress_health_check=list(HealthCheck)))


@pytest.mark.slow
@pytest.mark.parallel
def test_a_scenario_and_its_trace_shrink_to_one_client_and_no_fault() -> None:
    scenario = smallest(strategies.scenarios(), lambda _: True)
    assert (len(scenario.groups), scenario.groups[0].clients, scenario.faults) == (1, 1, ())
    assert (scenario.groups[0].path, scenario.groups[0].stay, scenario.availability) == (Path(latency_s=0.0), None, None)
    trace = run(scenario).trace  # as `traces` does
    assert {record.client for record in trace if isinstance(record, AttemptMade)} == {"c-0"}
    assert not [record for record in trace if isinstance(record, FaultHappened)]


@pytest.mark.slow
@pytest.mark.parallel
def test_a_scenario_shrinks_to_the_one_fault_that_matters() -> None:
    scenario = smallest(strategies.scenarios(), lambda drawn: any(isinstance(one, faults.Stall) for one in drawn.faults))
    assert scenario.faults == (faults.Stall(at_s=0.0, duration_s=0.0),)


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize(
    ("strategy", "shows", "simplest"),
    [
        (strategies.faults(("ann", "ben")), lambda _: True, faults.Reset(at_s=0.0)),
        (strategies.faults(("ann", "ben")), lambda fault: fault.clients, faults.Reset(at_s=0.0, clients=("ann",))),
        (strategies.paths(), lambda path: path.loss, Path(latency_s=0.0, loss=BernoulliLoss(probability=0.0))),
        (strategies.rich_paths(), lambda path: path.delay, Path(latency_s=0.0, delay=laws_module.Constant(value=0.001))),
        (strategies.distributions(0.5, 2.0), lambda distribution: distribution.mean > 0.5, laws_module.Constant(value=2.0)),
        (strategies.server_frames(), lambda frame: isinstance(frame, Heartbeat), Heartbeat(head=0)),
        (strategies.timings(1.0), lambda timing: isinstance(timing, work.OnOff), work.OnOff(per_s=1.0, on=HALF, off=ONE)),
        (strategies.reconnect_policies(), lambda _: True, strategies.hurried(PRESETS["steadywire"].policy)),
    ],
    ids=["fault", "fault of one", "path", "rich path", "distribution", "frame", "timing", "policy"],
)
def test_the_simplest_is_found(strategy: SearchStrategy[T], shows: Callable[[T], bool], simplest: T) -> None:
    assert smallest(strategy, shows) == simplest


@pytest.mark.slow
@pytest.mark.parallel
def test_a_workload_shrinks_to_rates() -> None:
    found = smallest(strategies.workloads(), lambda _: True)
    assert found == work.Workload(graft_per_s=0.1, prune_per_s=0.05, flag_per_s=0.02, chat_per_s=0.1, cursor_per_s=0.0)
