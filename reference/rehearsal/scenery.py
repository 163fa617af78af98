"""How a run looks to whoever watches: a scene made of what is there now, and sentences on who has changed transport."""

from collections.abc import Iterator, Sequence

from reference.protocol.states import ClientState
from reference.rehearsal.actors import Actor
from reference.rehearsal.plan import Plan
from reference.rehearsal.recorder import Recorder
from reference.rehearsal.watching import Act, Row, Scene
from simulation.faults import enumerate_names

SHOWN_S_MIN = 1.0
"""How long a fault is shown that is over in a moment."""


def scene_of(plan: Plan, actors: Sequence[Actor], recorder: Recorder, act: Act, *, server_is_up: bool) -> Scene:
    """Everything now."""
    now_s, counts = recorder.now_s, recorder.counts
    return Scene(
        act=act,
        at_s=now_s,
        seconds=plan.seconds,
        server_is_up=server_is_up,
        faults=tuple(fault for fault in plan.faults if fault.at_s <= now_s <= max(fault.end_s, fault.at_s + SHOWN_S_MIN)),
        published=counts["published"],
        accepted=counts["accepted"],
        delivered=counts["delivered"],
        head=recorder.head,
        rows=tuple(_row(actor, recorder) for actor in actors),
    )


def moves(recorder: Recorder) -> Iterator[str]:
    """Who has changed transport since the last time this was asked, in words."""
    fallen, returned = [], []
    while recorder.turns:
        name, before, after = recorder.turns.popleft()
        if after is ClientState.POLLING and not before.is_polling:
            fallen.append(name)
        elif after is ClientState.LIVE and before.is_polling:
            returned.append(name)
    if fallen:
        yield f"{enumerate_names(fallen)}: fallen back to HTTP polling"
    if returned:
        yield f"{enumerate_names(returned)}: back on WebSocket"


def _row(actor: Actor, recorder: Recorder) -> Row:
    client, name = actor.client, actor.plan.name
    if client is None:
        return Row(name, actor.plan.path, None, None, 0, 0, None, 0)
    health = client.health
    return Row(
        name=name,
        path=actor.plan.path,
        state=client.state,
        transport=health.transport,
        position=recorder.positions[name],
        queued=health.queued_messages,
        round_trip_ms=health.round_trip.p50_ms,
        reconnections=health.reconnections,
    )
