"""G13: a lost last event is noticed within one heartbeat. No network loses it, so here the server's driver does.

The heartbeat carries the head; a client below it reconnects and resumes, and soon reaches the head again.
"""

from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.config import ClientConfig, ServerConfig
from simulation.adversary.steps import Calm, PublishEvent, Swallow
from simulation.adversary.world import WAIT_MAX_S, AdversarialWorld, Setup

HEARTBEAT_S = 3.0


@given(before=st.integers(0, 5), lost=st.integers(1, 3), wire=st.integers(0, 1), tail_timeout_s=st.sampled_from([0.5, 2.0]))
def test_g13_tail(before: int, lost: int, wire: int, tail_timeout_s: float) -> None:
    server = ServerConfig(heartbeat_interval_s=HEARTBEAT_S)
    world = AdversarialWorld(Setup(client=ClientConfig(tail_timeout_s=tail_timeout_s), server=server))
    world.calm(0.1)
    for _ in range(before):
        PublishEvent(0, "CHAT", 0).do(world)
    world.calm(0.1)
    Swallow(wire, lost).do(world)
    for _ in range(lost):
        PublishEvent(0, "CHAT", 0).do(world)
        Calm(5).do(world)
    reader = world.hosts[wire].session
    assert reader.position[1] == before, "the last events are lost"
    world.calm(HEARTBEAT_S + tail_timeout_s + WAIT_MAX_S + 0.1)
    assert reader.position[1] == before + lost
    assert world.broken() == []
