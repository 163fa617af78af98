"""The faults that these properties found in our own machines, each as a few steps, and the worst known cases.

What was found is mended; the steps are kept because they are short enough to read, and hard enough to come by. Each file in
`cases` opens with `steadywire replay FILE`.
"""

from pathlib import Path

import msgspec
import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.frames import Start
from reference.protocol.policies.catalogue import Schedule
from reference.protocol.states import ClientState
from simulation.adversary.case import load_case, parse_case
from simulation.adversary.settling import play, settle
from simulation.adversary.steps import (
    AnswerUpgrade,
    Block,
    Calm,
    CalmUntil,
    Crash,
    Cut,
    Down,
    Http,
    PublishEvent,
    RefuseToken,
    StallHttp,
    StepClock,
    Up,
    WaitFor,
)
from simulation.adversary.world import AdversarialWorld, Setup
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import BlockUpgrade, Reset
from simulation.scenario.paths import Middlebox, Tcp
from simulation.scenario.paths import Path as NetworkPath
from simulation.scenario.population import FlashCrowd
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart
from simulation.scenario.workload import IDLE, RecordedTimes, Stream, Workload
from simulation.trace.index import index_of
from simulation.trace.trace import PublishSent, QueueSampled, SessionOver
from simulation.world import run

POLLS = ClientConfig(fallback_after_failures=1, probe_interval_s=1.0, probe_interval_max_s=4.0, poll_interval_s=0.25)
CASES = Path(__file__).parent / "cases"
TALK = msgspec.structs.replace(IDLE, chat=Stream(timing=RecordedTimes(times_s=(2.0, 3.0, 4.0))))


@pytest.mark.parametrize("path", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_kept_case_holds(path: Path) -> None:
    case = load_case(path)
    assert play(case.setup, case.schedule) == []
    assert parse_case(case.to_toml()) == case


def test_one_append_longer_than_the_window() -> None:
    """A batch of more events than are kept trimmed what no reader had seen. The settings that allow it are refused since."""
    with pytest.raises(ValueError, match="appends_pending_max"):
        ServerConfig(events_kept_max=5, snapshot_interval_events=2, appends_pending_max=6)


def test_a_publish_that_may_have_arrived_is_not_said_to_be_lost() -> None:
    """Refused for want of room among the clients, with a copy still out that a restarted server takes."""
    config = ServerConfig(clients_per_run_max=1)
    world = AdversarialWorld(Setup(client=POLLS, server=config))
    world.calm(0.1)
    Block(1, True).do(world)
    world.calm(3.0)
    PublishEvent(0, "CHAT", 0).do(world)  # pending: the only place among the clients is taken
    Up(0, 1).do(world)
    PublishEvent(1, "CHAT", 0).do(world)
    # The request is held up; the client hears of a reset and sends it again, which is answered; then the first one arrives.
    for step in (StallHttp(0, True), Http(0, "fail"), WaitFor(4000, "exact"), *[Http(1, "arrive")] * 2, *[Http(0, "answer")] * 2):
        step.do(world)
    assert [failed.code for failed in index_of(world.trace).clients["client1"].failed[1]] == ["too_many_clients"]
    for step in (Crash(0, True), StallHttp(0, False), Http(0, "arrive")):
        step.do(world)
    settle(world)
    assert world.broken() == []
    assert world.server.run is not None
    assert world.server.run.head == 1, "the late copy was taken"


def test_a_clock_that_is_stepped_rings_for_everyone() -> None:
    """Found by exploring with seed 1054: the step rang the server's alarm alone, in a time in which none rang. The checker took
    that as a sign that the clients' alarms had rung too, and accused all that waited."""
    world = AdversarialWorld(Setup(client=ClientConfig(fallback_after_failures=None)))
    world.calm(0.1)
    for step in (Cut(0, "now", "now"), WaitFor(200_000, "not yet"), StepClock(5000), WaitFor(10, "not yet")):
        step.do(world)
    settle(world)
    assert world.broken() == []


def test_a_policy_that_gives_up_on_polling_ends_a_session_that_got_a_new_token() -> None:
    """Found by exploring with seed 77: a poll was refused for its token when the policy had no wait left. With the new token the
    client went on and polled after `poll_interval_s`, also when token after token was refused."""
    config = msgspec.structs.replace(POLLS, refreshes_token=True)
    world = AdversarialWorld(Setup(client=config, policy=Schedule(waits_s=(0.0, 1.0))))
    for step in (Block(0, True), CalmUntil("request", 6000), RefuseToken("request", 0), WaitFor(900, "exact")):
        step.do(world)
    assert not world.requests, "the second poll waits, as the policy says"
    for step in (CalmUntil("request", 6000), RefuseToken("request", 0), Calm(1000)):
        step.do(world)
    settle(world)
    assert world.broken() == []
    assert [over.message for over in world.trace if isinstance(over, SessionOver)] == ["the reconnect policy gave up on polling"]


def test_a_late_rejection_over_polling_asks_for_a_publish_that_a_probe_has_sent() -> None:
    """Found by exploring with seed 6: the checker of G10 let a rejection count on the connection on which it came alone, though
    the answers of polling count until the probe has proven itself (7.29)."""
    world = AdversarialWorld(Setup(client=POLLS, server=ServerConfig(publish_burst=1, publishes_per_s=1.0)))
    world.calm(0.1)
    Block(0, True).do(world)
    world.calm(2.0)
    PublishEvent(0, "CHAT", 0).do(world)
    world.calm(0.1)
    PublishEvent(0, "CHAT", 0).do(world)
    # The request is rejected, since the first publish came a moment ago; the answer is held up until the probe has taken over.
    for step in (Http(-1, "arrive"), StallHttp(-1, True), Block(0, False), CalmUntil("opening", 6000)):
        step.do(world)
    for step in (AnswerUpgrade(0, "open"), Down(0, 1), Up(0, 1), Down(0, 1), Http(-1, "answer"), WaitFor(1500, "exact")):
        step.do(world)
    sent = [record for record in world.trace if isinstance(record, PublishSent)]
    assert [record.client_sequence for record in sent] == [2, 2], "sent by the probe, and again after the rejection"
    assert len({record.connection_id for record in sent}) == 1
    settle(world)
    assert world.broken() == []


@pytest.mark.parametrize("start", ["head", "oldest", "snapshot"])
def test_who_was_given_nothing_of_an_empty_log_is_back_all_the_same(start: Start) -> None:
    """The checker of G6 knew a position only from what was given, and called a client lost where there was nothing to give."""
    part = ClientPart(config=ClientConfig(start=start))
    scenario = Scenario(
        name="empty", groups=(Group(name="c"),), workload=IDLE, faults=(Reset(at_s=5.0),), client=part, horizon_s=9.0
    )
    verdict = run(scenario).verdicts["G6"]
    assert verdict.checked
    assert verdict.violations == ()


def test_tokens_that_live_shorter_than_the_wait_for_a_probe_do_not_end_the_probes() -> None:
    """Found by exploring with seed 22: each new token for polling began the wait for a probe anew, so that none came."""
    config = msgspec.structs.replace(POLLS, probe_interval_s=15.0, probe_interval_max_s=15.0, refreshes_token=True)
    scenario = Scenario(
        name="short_lived",
        groups=(Group(name="c"),),
        workload=IDLE,
        faults=(BlockUpgrade(at_s=2.0, duration_s=8.0),),
        server=ServerPart(token_lifetime_s=5.0),
        client=ClientPart(config=config),
        horizon_s=10.0,
    )
    result = run(scenario)
    assert result.trace_index.clients["c-0"].state is ClientState.LIVE
    assert not result.verdicts["G6"].violations


def test_a_law_of_sizes_makes_no_cursor_that_is_none() -> None:
    """A law for the size of every event made cursors of more bytes than a cursor may have, and the run broke off."""
    workload = Workload(cursor_per_s=5.0, size_bytes=Constant(value=2000.0))
    result = run(Scenario(name="large", groups=(Group(name="c", clients=2),), workload=workload, horizon_s=5.0))
    assert all(not verdict.violations for verdict in result.verdicts.values())


def test_who_begins_at_the_head_when_all_is_said_has_lost_nothing() -> None:
    """Visitors that came after the last event, and asked for none from before, made every event count as lost."""
    late = Group(name="late", arrivals=FlashCrowd(at_s=9.0), workload=IDLE)
    part = ClientPart(config=ClientConfig(start="head"))
    scenario = Scenario(name="late", groups=(Group(name="c"), late), workload=TALK, client=part, horizon_s=9.5)
    result = run(scenario)
    assert result.counts.accepted == 3
    assert result.counts.lost == 0


def test_an_idle_http_connection_whose_client_has_gone_in_silence_is_closed() -> None:
    """A middlebox forgot each connection between two polls: the simulated server kept its half, 26 of them after a quarter of an
    hour. The real one closes a connection on which no request comes."""
    forgetful = Middlebox(idle_timeout_s=5.0, idle_effect="silent", upgrades="strip")
    polls = msgspec.structs.replace(POLLS, poll_interval_s=20.0, poll_wait_s=0.0, probe_interval_s=5.0, probe_interval_max_s=5.0)
    scenario = Scenario(
        name="forgotten",
        horizon_s=900.0,
        workload=IDLE,
        groups=(Group(name="c", path=NetworkPath(latency_s=0.02, tcp=Tcp(retries=3), middlebox=forgetful)),),
        client=ClientPart(config=polls),
    )
    samples = [record for record in run(scenario).trace if isinstance(record, QueueSampled)]
    held = [each.length for each in samples if (each.place, each.queue) == ("c-0", "connections")]
    assert 1 <= max(held) <= 5
