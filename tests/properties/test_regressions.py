"""What these properties have found in our own machines, each as the few steps that showed it.

All were mended in the machines; the steps are kept because they are short enough to read, and hard enough to come by.
"""

import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from simulation.hostile.settling import play, settle
from simulation.hostile.steps import (
    Answer,
    Block,
    Calm,
    Copy,
    Crash,
    Cut,
    Down,
    Hold,
    Http,
    Join,
    LoseHistory,
    NextAlarm,
    Publish,
    StallHttp,
    Step,
    Up,
    Wait,
)
from simulation.hostile.world import Setup, World

CHAT = Publish(0, "CHAT", 0)
POLLS = ClientConfig(fallback_after_failures=1, probe_interval_s=1.0, probe_interval_max_s=4.0, poll_interval_s=0.25)
SOON = ServerConfig(hello_timeout_s=2.0)
NO_GRACE = ServerConfig(presence_grace_s=0.0)
CONNECT_BY_HAND: list[Step] = [Answer(0, "open"), Up(0, 4), Down(0, 4), Up(0, 4), Down(0, 4)]


@pytest.mark.parametrize(
    ("setup", "schedule"),
    [
        pytest.param(
            Setup(client=ClientConfig(connect_timeout_s=10.0), server=SOON),
            [Answer(0, "open"), Wait(5000, "exact")],
            id="a hello that is held up ended the session for good (4400)",
        ),
        pytest.param(
            Setup(),
            [Calm(100), Hold(0, True), CHAT, Calm(3000), Block(0, True), Hold(0, False), Wait(5000, "exact")],
            id="released without a connection, the session waited for a tail and left a connection that it had not",
        ),
        pytest.param(
            Setup(server=NO_GRACE),
            [Calm(1000), Cut(1, "now", "now"), Join(0), Wait(1, "exact"), Answer(-1, "open"), Down(-1, 1), Up(-1, 1), Calm(3000)],
            id="who was welcomed between a leave and a return never learned of the one who returned",
        ),
        pytest.param(
            Setup(users=("ann",), client=POLLS),
            [
                *[Block(0, True), Answer(0, "refuse"), NextAlarm(0)],
                *[Copy(0), Http(0, "arrive"), Http(0, "answer")],  # the copy of a poll that names no session stays out
                *[Crash(0, True), StallHttp(0, False), Http(0, "arrive"), Block(0, False), Calm(3000)],
            ],
            id="a late copy of a first poll made the restarted server refuse the real session for good (4101)",
        ),
        pytest.param(
            Setup(client=POLLS),
            [
                *[*CONNECT_BY_HAND, CHAT, CHAT, CHAT, Up(0, 9), Calm(1)],
                *[Answer(0, "refuse"), NextAlarm(0), Http(0, "arrive"), StallHttp(0, True), Calm(5)],
                *[LoseHistory(0), Calm(20), NextAlarm(0), NextAlarm(0)],
                *[Answer(0, "open"), Up(0, 1), Down(0, 1), Up(0, 1), Down(0, 3), Http(0, "answer"), CHAT, Calm(5)],
            ],
            id="a late answer to a poll carried the session back into a history that was lost",
        ),
        pytest.param(
            Setup(client=ClientConfig(fallback_after_failures=1, probe_interval_s=0.5, retry_limit=0)),
            [Calm(100), CHAT, Calm(100), Block(0, True), Calm(3000), CHAT, LoseHistory(0)],
            id="a history lost while a publish was on its way cost that publish its only try",
        ),
        pytest.param(
            Setup(),
            [Calm(100), *[CHAT] * 7, Calm(5), Hold(0, True), LoseHistory(5), Publish(1, "CHAT", 0), Calm(3000)],
            id="a client that held its events acknowledged numbers of a lost history, and was sent off for good (4400)",
        ),
    ],
)
def test_once_found(setup: Setup, schedule: list[Step]) -> None:
    assert play(setup, schedule) == []


def test_one_append_longer_than_the_window() -> None:
    """A batch of more events than are kept trimmed what no reader had seen. The settings that allow it are refused since."""
    with pytest.raises(ValueError, match="appends_pending_max"):
        ServerConfig(events_kept_max=5, snapshot_interval_events=2, appends_pending_max=6)


def test_a_publish_that_may_have_arrived_is_not_said_to_be_lost() -> None:
    """Refused for want of room among the clients, with a copy still out that a restarted server takes."""
    config = ServerConfig(clients_per_run_max=1)
    world = World(Setup(client=POLLS, server=config))
    world.calm(0.1)
    Block(1, True).do(world)
    world.calm(3.0)
    Publish(0, "CHAT", 0).do(world)  # pending: the only place among the clients is taken
    Up(0, 1).do(world)
    Publish(1, "CHAT", 0).do(world)
    # The request is held up; the client hears of a reset and sends it again, which is answered; then the first one arrives.
    for step in (StallHttp(0, True), Http(0, "fail"), Wait(4000, "exact"), *[Http(1, "arrive")] * 2, *[Http(0, "answer")] * 2):
        step.do(world)
    assert world.hosts[1].view.failed[1].code == "too_many_clients"
    for step in (Crash(0, True), StallHttp(0, False), Http(0, "arrive")):
        step.do(world)
    settle(world)
    assert world.journal.broken == []
    assert world.server.run is not None
    assert world.server.run.head == 1, "the late copy was taken"
