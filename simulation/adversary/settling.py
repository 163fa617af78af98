"""Playing a schedule to its end: the steps, and then the calm in which everything must come right (G6 and what follows it)."""

from collections.abc import Callable, Sequence

from reference.protocol.config import recovery_bound_s
from reference.protocol.timers import NS_PER_S, ns
from simulation.adversary.ground import Setup
from simulation.adversary.journal import Broken
from simulation.adversary.steps import Step
from simulation.adversary.world import AdversarialWorld
from simulation.trace.messages import MessageLog

GO_AWAY_MAX_S = 4.0
"""The longest wait that a schedule's `GoAway` may ask for, spread included."""
LOOK_EVERY_S = 0.05
GIVEN_UP_S = 300.0
AFTERWARDS_S = 4.0
"""How long a settled world is watched, lest it comes undone."""


def play(
    setup: Setup, schedule: Sequence[Step], *, judge_end: bool = True, message_log: MessageLog | None = None
) -> list[Broken]:
    """Play a schedule, then let the faults stop, and say which guarantees were broken. `message_log` takes down what is said."""
    world = AdversarialWorld(setup, message_log)
    for step in schedule:
        world.note("", str(step))
        step.do(world)
    if judge_end:
        world.note("", "the faults stop")
        settle(world)
    return world.journal.broken


def settle(world: AdversarialWorld) -> None:
    """Faults stop: whatever is dead stays dead, but all that is new works. Then judge G6 and the rest."""
    _stop_faults(world)
    journal, client, server = world.journal, world.setup.client, world.setup.server
    bound_s = recovery_bound_s(client, world.setup.wait_max_s + GO_AWAY_MAX_S, 0.1, heartbeat=world.setup.heartbeat)
    slack_s = client.poll_interval_s + client.poll_wait_s + 1.0
    if not _calm_until(world, bound_s - slack_s, _is_connected):
        assert world.server.run is not None
        head_then = world.server.run.head
        world.calm(slack_s)
        for session in [host.session for host in world.present]:
            epoch, last = session.position
            if not session.state.is_connected or epoch != world.server.run.epoch or last < head_then:
                where = f"{session.client_id} is {session.state.value} at {session.position}"
                journal.note(
                    "G6", f"{where} {bound_s:g} s after the last fault; the run is at {(world.server.run.epoch, head_then)}"
                )
    # What may take longer: a probe behind polling, retries of publishes, the grace of those who went away.
    longer_s = 2 * client.probe_interval_max_s + bound_s + 20.0 + server.presence_grace_s + server.silence_max_s
    _calm_until(world, longer_s, _is_settled)
    world.calm(AFTERWARDS_S)
    _judge_rest(world)
    journal.finish(host.view for host in world.hosts)


def time_to_recover_s(world: AdversarialWorld) -> float:
    """Let the faults stop, and everyone publish; after how many seconds everyone is connected and has it all (or it is given up).

    A line that is dead and not known to be is found out by that: whoever is on it does not get the others' publishes.
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
        host.session.release_events(world.now)
        host.pump()
    for wire in world.wires:
        wire.credit = wire.blocked_at = None
        wire.up_is_stalled = wire.down_is_stalled = False
        wire.swallows = 0
    for request in world.requests:
        request.is_stalled = False
    world.ring()
    world.server.pump()


def _calm_until(world: AdversarialWorld, most_s: float, is_reached: Callable[[AdversarialWorld], bool]) -> bool:
    """A calm of at most `most_s`, second by second. Returns whether it was cut short."""
    until = world.now + ns(most_s)
    while world.now < until:
        world.calm(min(1.0, (until - world.now) / NS_PER_S))
        if is_reached(world):
            return True
    return False


def _is_connected(world: AdversarialWorld) -> bool:
    """Everyone is connected and at the head, as G6 asks for within the bound."""
    assert world.server.run is not None
    place = (world.server.run.epoch, world.server.run.head)
    return all(session.state.is_connected and session.position == place for session in [host.session for host in world.present])


def _is_settled(world: AdversarialWorld) -> bool:
    """Nothing is left to come right."""
    assert world.server.run is not None
    sessions = [host.session for host in world.present]
    users = tuple(sorted({host.user for host in world.present}))
    quiet = not world.server.appends and all(session.queued_messages == 0 for session in sessions)
    alike = all(session.active_users == users for session in sessions) and world.server.run.active_users == users
    return quiet and alike and _is_connected(world) and all(session.state.value == "live" for session in sessions)


def _judge_rest(world: AdversarialWorld) -> None:
    run, journal = world.server.run, world.journal
    assert run is not None
    for session in [host.session for host in world.present]:
        if session.state.value != "live":
            journal.note("G6", f"{session.client_id} has not come back to WebSocket: it is {session.state.value}")
        if session.position != (run.epoch, run.head):
            journal.note("G6", f"{session.client_id} rests at {session.position}; the head is {run.head}")
        if session.active_users != run.active_users:
            journal.note("G12", f"{session.client_id} sees {session.active_users}; present are {run.active_users}")
        if session.cursors != run.cursors:
            journal.note("G12", f"{session.client_id} sees other cursors than the server does")
    users = tuple(sorted({host.user for host in world.present}))
    if run.active_users != users:
        journal.note("G12", f"the server sees {run.active_users} long after; present are {users}")
