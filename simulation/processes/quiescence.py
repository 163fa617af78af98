"""Settling: every client is live over WebSocket, no publish waits for an answer, and every client has read up to the head."""

from collections.abc import Iterator, Sequence

import trio

from reference.protocol.states import ClientState
from simulation.processes.participant import Participant
from simulation.processes.recorder import Recorder

REST_S = 0.5
"""How long everything must have been settled, so that no data are on their way any more."""
_LOOK_INTERVAL_S = 0.05


async def come_to_rest(participants: Sequence[Participant], recorder: Recorder) -> float:
    """Return when everything has been settled for a while; returns since when, in seconds since the trace began."""
    since_s: float | None = None
    while since_s is None or recorder.now_s - since_s < REST_S:
        if any(unrest(participants, recorder)):
            since_s = None
        elif since_s is None:
            since_s = recorder.now_s
        await trio.sleep(_LOOK_INTERVAL_S)
    return since_s


def unrest(participants: Sequence[Participant], recorder: Recorder) -> Iterator[str]:
    """What keeps clients from being settled, a sentence for each."""
    head = recorder.head
    for participant in participants:
        name, client = participant.plan.name, participant.client
        if client is None:
            yield f"{name} has not joined"
        elif client.state is not ClientState.LIVE:
            yield f"{name} is {client.state.value}"
        elif client.queued_messages:
            yield f"{name} has {client.queued_messages} events without an answer"
        elif recorder.positions[name] < head:
            yield f"{name} is at event {recorder.positions[name]}, the head is {head}"
