"""The plan of a demo is a pure function of its arguments, and has the properties that the module promises."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.errors import ConfigError
from reference.protocol.events import CURSOR_MOVE, DEFAULT_REGISTRY, FLAG
from simulation.emulator.errors import check_fault, check_path
from simulation.processes.demo.schedule import (
    BLOCK_S_MIN,
    CLIENTS_MAX,
    CLIENTS_MIN,
    DELIVERIES_PER_S_MAX,
    FLAGS_MAX,
    SECONDS_MIN,
    plan_demo,
)
from simulation.scenario.faults import BlockUpgrade, ServerRestart
from simulation.trace.publishes import publish_id_of
from tests.other_process import printed_by

arguments = st.fixed_dictionaries(
    {
        "clients": st.integers(CLIENTS_MIN, 40),
        "seconds": st.floats(SECONDS_MIN, 60),
        "seed": st.integers(-(2**63), 2**63),
        "faults": st.booleans(),
    }
)


@given(arguments=arguments)
def test_equal_seeds_give_equal_plans(arguments: dict[str, Any]) -> None:
    assert msgspec.json.encode(plan_demo(**arguments)) == msgspec.json.encode(plan_demo(**arguments))


def test_a_plan_does_not_depend_on_the_process() -> None:
    """Nothing in it may come from the order of a set or a dict, which differs with PYTHONHASHSEED."""
    program = (
        "import hashlib, msgspec; from simulation.processes.demo.schedule import plan_demo; "
        "print(hashlib.sha256(msgspec.json.encode(plan_demo(clients=20, seconds=20, seed=7, faults=True))).hexdigest())"
    )
    assert printed_by(program, hash_seed="1") == printed_by(program, hash_seed="2")


@given(seed=st.integers(0, 2**63))
def test_faults_do_not_change_the_work(seed: int) -> None:
    with_faults, without = (plan_demo(clients=6, seconds=8, seed=seed, faults=faults) for faults in (True, False))
    assert with_faults.clients == without.clients
    assert without.faults == ()


@given(arguments=arguments)
def test_every_fault_is_over_when_the_work_is(arguments: dict[str, Any]) -> None:
    plan = plan_demo(**arguments)
    names = {client.name for client in plan.clients}
    assert [fault.at_s for fault in plan.faults] == sorted(fault.at_s for fault in plan.faults)
    for fault in plan.faults:
        check_fault(fault)
        assert 0 < fault.at_s <= fault.end_s <= plan.seconds
        assert names.issuperset(fault.clients)


@given(arguments=arguments)
def test_a_demo_with_faults_has_every_kind(arguments: dict[str, Any]) -> None:
    plan = plan_demo(**arguments)
    kinds = {type(fault).__struct_config__.tag for fault in plan.faults}
    every = {"reset", "half_open", "outage", "stall", "refuse", "block_upgrade", "server_restart"}
    assert kinds == (every if arguments["faults"] else set())
    assert plan.kills == tuple(fault for fault in plan.faults if isinstance(fault, ServerRestart))


@given(arguments=arguments)
def test_one_blocked_client_is_left_alone_long_enough_to_fall_back(arguments: dict[str, Any]) -> None:
    plan = plan_demo(**arguments)
    blocks = [fault for fault in plan.faults if isinstance(fault, BlockUpgrade)]
    for block in blocks:
        assert block.duration_s >= BLOCK_S_MIN
        assert any(
            all(isinstance(fault, BlockUpgrade) or name not in fault.clients for fault in plan.faults) for name in block.clients
        )


@given(arguments=arguments)
def test_the_work_is_what_a_server_accepts_and_nobody_comes_twice(arguments: dict[str, Any]) -> None:
    plan = plan_demo(**arguments)
    names = [client.name for client in plan.clients]
    assert len(set(names)) == len(names)
    publish_ids = []
    for client in plan.clients:
        check_path(client.path)
        assert [move.at_s for move in client.moves] == sorted(move.at_s for move in client.moves)
        for move in client.moves:
            assert client.joins_at_s <= move.at_s <= plan.seconds
            if move.event_type != CURSOR_MOVE:
                DEFAULT_REGISTRY.check_publish(move.event_type, move.data)
                publish_ids.append(publish_id_of(move.data))
    assert len(set(publish_ids)) == len(publish_ids)
    assert None not in publish_ids


@pytest.mark.parametrize("clients", [CLIENTS_MIN, 20, 60, CLIENTS_MAX])
def test_there_is_always_something_to_do(clients: int) -> None:
    plan = plan_demo(clients=clients, seconds=SECONDS_MIN, seed=1, faults=True)
    assert sum(move.event_type != CURSOR_MOVE for client in plan.clients for move in client.moves) >= 10


def test_the_largest_demo_stays_within_its_limits() -> None:
    plan = plan_demo(clients=CLIENTS_MAX, seconds=600, seed=1, faults=True)
    publishes = [move for client in plan.clients for move in client.moves if move.event_type != CURSOR_MOVE]
    assert 0.8 <= len(publishes) * CLIENTS_MAX / (DELIVERIES_PER_S_MAX * plan.seconds) <= 1.1  # rounded for each client
    assert sum(move.event_type == FLAG for move in publishes) <= FLAGS_MAX


@pytest.mark.parametrize(
    ("clients", "seconds", "what"),
    [(1, 20.0, "clients = 1"), (201, 20.0, "clients = 201"), (20, 4.9, "seconds = 4.9"), (20, float("nan"), "seconds = nan")],
)
def test_numbers_that_make_no_demo_are_refused(clients: int, seconds: float, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        plan_demo(clients=clients, seconds=seconds, seed=1, faults=True)
