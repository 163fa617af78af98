"""Runs a schedule to its end: the steps, and then a time without faults in which everything must recover (G6)."""

from collections.abc import Callable, Sequence

from reference.protocol.config import recovery_bound_s
from reference.protocol.states import ClientState
from reference.protocol.timers import NS_PER_S, ns
from simulation.adversary.ground import ROUND_TRIP_MAX_S, Setup
from simulation.adversary.network import Wire
from simulation.adversary.steps import Step
from simulation.adversary.world import AdversarialWorld, Broken
from simulation.trace.messages import MessageLog

GO_AWAY_MAX_S = 4.0
"""The longest wait that a schedule's `GoAway` may ask for, including the spread."""
LOOK_EVERY_S = 0.05
GIVEN_UP_S = 300.0
AFTERWARDS_S = 4.0
"""How long a settled world is observed."""


def play(setup: Setup, schedule: Sequence[Step], *, message_log: MessageLog | None = None) -> list[Broken]:
    """Run a schedule, then let the faults stop, and return the violated guarantees. `message_log` records the messages."""
    world = AdversarialWorld(setup, message_log)
    for step in schedule:
        world.note("", str(step))
        step.do(world)
    world.note("", "the faults stop")
    settle(world)
    return world.broken()


def settle(world: AdversarialWorld) -> None:
    """Faults stop: dead connections stay dead, but new ones work. The calm lasts until everything has recovered, or until
    everything should have recovered long ago."""
    _stop_faults(world)
    world.journal.faults_stop()
    client, server = world.setup.client, world.setup.server
    bound_s = recovery_bound_s(client, world.setup.wait_max_s + GO_AWAY_MAX_S, ROUND_TRIP_MAX_S, heartbeat=world.setup.heartbeat)
    # These may take longer than the bound: a probe during polling, retries of publishes, grace periods.
    longer_s = 2 * client.probe_interval_max_s + bound_s + 20.0 + server.presence_grace_s + server.silence_max_s
    _calm_until(world, bound_s + longer_s, _is_settled)
    world.calm(AFTERWARDS_S)
    assert world.server.run is not None
    world.journal.roster_is("server", world.server.run.active_users, world.server.run.cursors)
    for host in world.present:
        world.journal.roster_is(host.name, host.session.active_users, host.session.cursors)
    world.journal.rests()


def time_to_recover_s(world: AdversarialWorld) -> float:
    """Let the faults stop, and every client publish; returns after how many seconds every client is connected and has everything.

    A dead connection that is not known to be dead is detected in this way: its client does not get the others' publishes.
    """
    _stop_faults(world)
    since = world.now
    for host in world.present:
        host.publish("CHAT")
    while world.now - since < GIVEN_UP_S * NS_PER_S:
        world.calm(LOOK_EVERY_S)
        if _is_connected(world) and not any(host.session.queued_messages for host in world.present):
            break
    return (world.now - since) / NS_PER_S


def _stop_faults(world: AdversarialWorld) -> None:
    if world.server.run is None:
        world.server.restart()
    for host in world.hosts:
        host.blocked = False
        world.journal.reading_turned(host.name, is_holding=False)
        host.session.release_events(world.now)
        host.pump()
    for wire in world.wires:
        wire.credit = None
        world.server.unblock(wire)
        wire.up_is_stalled = wire.down_is_stalled = False
        wire.swallows = 0
    for request in world.requests:
        request.is_stalled = False
    world.ring()
    world.server.take_more()


def _calm_until(world: AdversarialWorld, most_s: float, is_reached: Callable[[AdversarialWorld], bool]) -> bool:
    """A calm of at most `most_s`, second by second. Returns whether it was cut short."""
    until = world.now + ns(most_s)
    while world.now < until:
        world.calm(min(1.0, (until - world.now) / NS_PER_S))
        if is_reached(world):
            return True
    return False


def _is_connected(world: AdversarialWorld) -> bool:
    """Whether every client is connected and at the head, which G6 requires within the bound."""
    assert world.server.run is not None
    place = (world.server.run.epoch, world.server.run.head)
    return all(session.is_carried and session.position == place for session in [host.session for host in world.present])


def _is_settled(world: AdversarialWorld) -> bool:
    """Whether everything has recovered."""
    run, sessions = world.server.run, [host.session for host in world.present]
    assert run is not None
    users = tuple(sorted({host.user for host in world.present}))
    return (
        _is_connected(world)
        and not world.server.appends
        and run.active_users == users
        and not any(_is_half_dead(wire) for wire in world.wires)
        and all(session.state is ClientState.LIVE and session.queued_messages == 0 for session in sessions)
        and all(session.active_users == users and session.cursors == run.cursors for session in sessions)
    )


def _is_half_dead(wire: Wire) -> bool:
    """Whether one end takes the connection for alive although it transports nothing any more."""
    is_silent = wire.up_is_silent or wire.down_is_silent or wire.hangs
    return (wire.client_stands or wire.server_stands) and (is_silent or wire.client_stands != wire.server_stands)
