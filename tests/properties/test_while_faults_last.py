"""What is judged while faults last: each bug here has come right again before everything has settled; only its moment shows it.

Each case is a short schedule that holds in the product, and does not with the bug of the catalogue in it. That strategies come
to these moments by themselves is shown by `test_they_bite`.
"""

import msgspec
import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from simulation.adversary import steps
from simulation.adversary.settling import play
from simulation.adversary.world import Setup

from .bugs import BUGS, Bug, applied

POLLS = ClientConfig(fallback_after_failures=1, probe_interval_s=1.0, probe_interval_max_s=1.0, probe_jitter=0.0)
OFTEN = ServerConfig(heartbeat_interval_s=0.4)
"""Its alarm is served often, and with it what is due is judged."""
NARROW = ServerConfig(events_kept_max=5, snapshot_interval_events=5, appends_pending_max=1)
"""The second event that waits for its store is rejected, and asked for again after a second."""
HASTY = ClientConfig(retry_base_s=0.1)
REJECTED = (
    steps.Calm(100),
    steps.PublishEvent(0, "CHAT", 0),
    steps.PublishEvent(0, "CHAT", 0),
    steps.Up(0, 2),
    steps.Down(0, 1),
)
ROSTER_OF_A_POLL = Bug(
    "the roster of a poll counts beside a WebSocket",
    "protocol.client.session:ClientSession._receive_poll",
    "not self.state.has_websocket",
    "True",
)
MISSED = Bug(
    "a reader that was behind is not sent what it missed",
    "protocol.server.event_log:Readers.next_batch",
    "seen != self._attendance.version",
    "False",
)
AT_ONCE = Bug(
    "who reads again without a hold polls at once after a failure",
    "protocol.client.session:ClientSession.release_events",
    "not self._delivery.release(now)",
    "self._delivery.release(now)",
)
RETURNED = Bug(
    "the cursor of who left and returned stays",
    "protocol.server.sessions:Sessions.send_presence",
    "self._context.send(readers, self.attendance.take_returned(now // NS_PER_MS))",
    "self.attendance.take_returned(now)",
)
SELDOM = (ROSTER_OF_A_POLL, MISSED, AT_ONCE, RETURNED)
"""Not in the catalogue: drawn schedules come to these moments too seldom."""

CASES: dict[str, tuple[str, str, Setup, tuple[steps.Step, ...]]] = {
    "the policy's own wait after Retry-After is left out": (
        "G10",
        "tries again 0.250 s before the least wait",
        Setup(users=("ann",)),
        (
            steps.Calm(100),
            steps.Cut(0, "now", "now"),
            steps.UntilOpening(4),
            steps.TurnAway("opening", 0, 3000),
            steps.WaitFor(4000, "exact"),
        ),
    ),
    "a new token puts the next probe off": (
        "G6",
        "client0 has not probed for 1.",
        Setup(users=("ann",), client=msgspec.structs.replace(POLLS, refreshes_token=True)),
        (
            steps.Calm(100),
            steps.Block(0, True),
            *[steps.CalmUntil("request", 3000), steps.RefuseToken("request", 0)] * 6,
        ),
    ),
    "a failed poll is asked again before the interval": (
        "G10",
        "before the wait after a failure is over",
        Setup(users=("ann",), client=POLLS),
        (
            steps.Calm(100),
            steps.Block(0, True),
            steps.CalmUntil("request", 1000),
            steps.TurnAway("request", 0, 0),
            steps.WaitFor(3000, "exact"),
        ),
    ),
    AT_ONCE.name: (
        "G10",
        "before the wait after a failure is over",
        Setup(users=("ann",), client=POLLS),
        (steps.Calm(100), steps.Block(0, True), steps.CalmUntil("request", 1000), steps.TurnAway("request", 0, 0)),
    ),
    "the wait after a rejection is left out": (
        "G10",
        "before the wait after a rejection is over",
        Setup(users=("ann",), server=NARROW),
        (*REJECTED, steps.WaitFor(2000, "exact")),
    ),
    "the time that a rejection names is ignored": (
        "G10",
        "before the wait after a rejection is over",
        Setup(users=("ann",), client=HASTY, server=NARROW),
        (*REJECTED, steps.WaitFor(2000, "exact")),
    ),
    "the time that a rejection names is forgotten with the connection": (
        "G10",
        "before the wait after a rejection is over",
        Setup(users=("ann",), client=HASTY, server=NARROW),
        (*REJECTED, steps.Cut(0, "now", "now"), steps.Calm(2000)),
    ),
    "presence waits for four times its interval": (
        "G12",
        "a connection of client0 was not sent ben, who is present",
        Setup(server=OFTEN),
        (steps.Calm(1500),),
    ),
    "cursors wait for ten times their interval": (
        "G12",
        "a connection of client1 was not sent the cursor of ann at {'x': 2}",
        Setup(server=OFTEN),
        (steps.Calm(1500), steps.MoveCursor(0, 1), steps.Calm(60), steps.MoveCursor(0, 2), steps.Calm(2000)),
    ),
    MISSED.name: (
        "G12",
        "a connection of client1 was not sent the cursor of ann at {'x': 1}",
        Setup(server=OFTEN),
        (
            steps.Calm(1500),
            steps.Choke(1, 1),
            steps.PublishEvent(0, "CHAT", 0),
            steps.Calm(20),
            steps.MoveCursor(0, 1),
            steps.Calm(500),
            steps.Choke(1, 0),
            steps.Calm(1000),
        ),
    ),
    RETURNED.name: (
        "G12",
        "a connection of client0 was not sent the end of the cursor of ben",
        Setup(users=("ann", "ben", "cid"), server=OFTEN),
        (
            steps.Calm(1500),
            steps.MoveCursor(1, 1),
            steps.Calm(200),
            steps.Leave(2),
            steps.Calm(20),
            steps.Leave(1),
            steps.Join(1),
            steps.Calm(2000),
        ),
    ),
    ROSTER_OF_A_POLL.name: (
        "G12",
        "the application of client0 sees ['ann', 'ben'] and {}; it was sent ['ann'] and {}",
        Setup(client=POLLS, server=ServerConfig(presence_grace_s=0.0)),
        (
            steps.Calm(100),
            steps.Block(0, True),
            steps.Calm(300),
            steps.CalmUntil("request", 4000),
            steps.Http(0, "arrive"),
            steps.StallHttp(0, True),
            steps.Leave(1),
            steps.Calm(20),
            steps.Block(0, False),
            steps.CalmUntil("opening", 4000),
            steps.AnswerUpgrade(-1, "open"),
            steps.Down(-1, 1),
            steps.Up(-1, 1),
            steps.Down(-1, 1),
            steps.Http(0, "answer"),
            steps.WaitFor(1, "exact"),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bug_that_comes_right_again_is_seen_in_its_moment(name: str) -> None:
    guarantee, said, setup, schedule = CASES[name]
    assert play(setup, schedule) == []
    with applied(next(bug for bug in (*BUGS, *SELDOM) if bug.name == name)):
        broken = play(setup, schedule)
    assert {one.guarantee for one in broken} == {guarantee}
    assert any(said in one.what for one in broken), broken
