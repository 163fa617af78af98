"""The machines for other people's servers and clients: ours hold, and what is broken is found and shrinks to a few deeds."""

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis.stateful import run_state_machine_as_test

from simulation.hostile.tape import Tape
from simulation.strategies import ClientMachine, ServerMachine
from simulation.strategies.machines import Deed, deeds, play_deeds
from simulation.strategies.model_server import ModelServer
from simulation.strategies.server_world import Violated

from .naive_server import NaiveServer
from .session_client import ForgetfulClient, SessionClient

QUICK = settings(max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)


class OurServer(ServerMachine):
    make_server = ModelServer


class SomebodysServer(ServerMachine):
    make_server = NaiveServer


class OurClient(ClientMachine):
    make_client = SessionClient


class SomebodysClient(ClientMachine):
    make_client = ForgetfulClient


@pytest.mark.parametrize("machine", [OurServer, OurClient])
def test_ours_hold(machine: type) -> None:
    run_state_machine_as_test(machine, settings=QUICK)


@pytest.mark.parametrize("machine", [SomebodysServer, SomebodysClient])
def test_what_is_broken_is_found(machine: type) -> None:
    with pytest.raises(Violated):
        run_state_machine_as_test(machine, settings=settings(QUICK, max_examples=100, phases=["explicit", "generate"]))


@settings(QUICK)
@given(chosen=deeds(20))
def test_our_server_holds_for_lists_of_deeds_too(chosen: list[Deed]) -> None:
    play_deeds(ModelServer(), chosen)


def test_the_naive_servers_fault_shrinks_to_one_publish() -> None:
    def shows(chosen: list[Deed]) -> bool:
        try:
            play_deeds(NaiveServer(), chosen, Tape())
        except Violated as violated:
            return violated.guarantee == "G1"
        return False

    assert find(deeds(), shows, settings=settings(QUICK, max_examples=300, derandomize=True)) == [("publish", 0)]
