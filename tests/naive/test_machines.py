"""The machines for other people's servers and clients: ours pass; faults are found, and shrink to a few steps."""

import msgspec
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis.stateful import run_state_machine_as_test

from reference.protocol.states import ClientState
from simulation.testing import ClientMachine, PollingClientMachine, PollingServerMachine, ServerMachine
from simulation.testing.machines import ServerStep, play_steps, steps_taken
from simulation.testing.model_server import ModelServer
from simulation.testing.polling_world import PollingServerWorld
from simulation.testing.server_world import Violated
from simulation.trace.messages import MessageLog
from tests.properties.bugs import applied, named

from .naive_server import NaiveServer
from .session_client import ForgetfulClient, ForgetfulPoller, PollingSessionClient, SessionClient

QUICK = settings(max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
HUNT = settings(QUICK, max_examples=5000, phases=["explicit", "generate"], derandomize=True)
"""It ends with the first that is found: for the rarest after 300 on average. The imported modules influence which are drawn."""


class OurServer(ServerMachine):
    make_server = ModelServer


class SomebodysServer(ServerMachine):
    make_server = NaiveServer


class OurPollingServer(PollingServerMachine):
    make_server = ModelServer


class _EachPostIsNewServer(ModelServer):
    """Takes every call for one of another client: a publish that was asked for twice is two events."""

    def ask(self, request: int, user: str, text: str) -> None:
        super().ask(request, user, text.replace('"clientId":"client', f'"clientId":"{request}-client'))


class _ForgetsTheFirstServer(ModelServer):
    """Leaves the first event out of what a poll brings."""

    def answer(self, request: int) -> str | None:
        text = super().answer(request)
        if text is None or not (events := msgspec.json.decode(text).get("events")):
            return text
        return msgspec.json.encode({**msgspec.json.decode(text), "events": events[1:]}).decode()


class DoublesOverHttp(PollingServerMachine):
    make_server = _EachPostIsNewServer


class ForgetsOverHttp(PollingServerMachine):
    make_server = _ForgetsTheFirstServer


class OurClient(ClientMachine):
    make_client = SessionClient


class OurPollingClient(PollingClientMachine):
    make_client = PollingSessionClient


class SomebodysPollingClient(PollingClientMachine):
    make_client = ForgetfulPoller


class SomebodysClient(ClientMachine):
    make_client = ForgetfulClient


@pytest.mark.parametrize("machine", [OurServer, OurPollingServer, OurClient, OurPollingClient])
def test_ours_hold(machine: type) -> None:
    run_state_machine_as_test(machine, settings=QUICK)


@pytest.mark.parametrize(
    "machine",
    [
        SomebodysServer,
        SomebodysClient,
        pytest.param(SomebodysPollingClient, marks=[pytest.mark.slow, pytest.mark.parallel]),
        DoublesOverHttp,
        ForgetsOverHttp,
    ],
)
def test_what_is_broken_is_found(machine: type) -> None:
    with pytest.raises(Violated):
        run_state_machine_as_test(machine, settings=HUNT)


def test_a_client_falls_back_publishes_polls_and_comes_back() -> None:
    """What the rules do, once by hand: each of them has something to do it to."""
    world = PollingServerWorld(ModelServer())
    world.join()
    world.join()
    world.wait(0.1)
    world.deliver(0)
    world.deliver(1)
    world.block(0)
    world.wait(3.0)
    world.answer(0)
    guest = world.guests[0]
    assert guest.session.state is ClientState.POLLING
    world.publish(0)
    world.lose_answers(0)
    assert guest.session.queued_messages == 1, "it was taken, and the client does not know"
    world.wait(3.0)
    world.answer(0)
    world.answer(0)
    assert guest.session.queued_messages == 0
    assert guest.session.position[1] in (0, 1), "the publish may be answered before the poll"
    world.unblock(0)
    world.settle()
    assert [each.session.position[1] for each in world.guests] == [1, 1, 1]
    words = [message.words.split()[0] for message in world.message_log.messages]
    assert words.count("publishMany") == 2
    assert {"poll", "answer", "results:"} <= set(words)


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("machine", [OurPollingServer, OurPollingClient])
@pytest.mark.parametrize("name", ["polling never ends", "polling cannot send"])
def test_a_session_that_cannot_poll_is_found_too(name: str, machine: type) -> None:
    """The sessions are the product's own; with one line of them changed the rules have to find it."""
    with applied(named(name)), pytest.raises(Violated):
        run_state_machine_as_test(machine, settings=HUNT)


@settings(QUICK)
@given(chosen=steps_taken(20))
def test_our_server_holds_for_lists_of_deeds_too(chosen: list[ServerStep]) -> None:
    play_steps(ModelServer(), chosen)


def test_the_naive_servers_fault_shrinks_to_one_publish() -> None:
    def shows(chosen: list[ServerStep]) -> bool:
        try:
            play_steps(NaiveServer(), chosen, MessageLog())
        except Violated as violated:
            return violated.guarantee == "G1"
        return False

    assert find(steps_taken(), shows, settings=settings(QUICK, max_examples=300, derandomize=True)) == [("publish", 0)]
