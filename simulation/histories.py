"""One trace read as histories: how each client moved, what state it had folded, when it was behind and nothing came.

The checkers ask these questions; none of them is a judgement yet.
"""

from collections.abc import Container, Iterator

from reference.protocol.events import FLAG, GRAFT, PRUNE, Data
from reference.protocol.records import RunState
from reference.protocol.states import ClientState
from simulation.facts import ClientFacts, Facts, Progress
from simulation.trace import Delivered, ResetTaken, SnapshotTaken, StateTurned


def recovered_at(client: ClientFacts, since: int, epoch: str, head: int) -> int | None:
    """Since when, but not before `since`, something has carried this client, at `head` or beyond, until the end; None if it is
    not so at the end. While its application is asked for a new token it counts as carried if it was before: on the polling lane
    that comes with every token."""
    is_connected, reached = False, head == 0  # where there is nothing, nothing is to be given
    back_at: int | None = None
    for record in client.records:
        if isinstance(record, StateTurned):
            if record.state is not ClientState.REFRESHING:
                is_connected = record.state.is_connected
        elif isinstance(record, Delivered | SnapshotTaken | ResetTaken):
            reached = record.epoch == epoch and record.sequence_number >= head
        else:
            continue
        if not (is_connected and reached):
            back_at = None
        elif back_at is None:
            back_at = max(record.at, since)
    return back_at


def interruptions(client: ClientFacts, ended_at: int) -> Iterator[tuple[int, int, bool]]:
    """The stretches, after it was first connected, in which nothing carried this client: start and end in ns, and whether it
    came back (else the trace, or the session, ended first)."""
    lost_at: int | None = None
    was_connected = False
    for turn in client.turns():
        if turn.state.is_connected:
            if lost_at is not None:
                yield lost_at, turn.at, True
            lost_at, was_connected = None, True
        elif was_connected and lost_at is None:
            if turn.state is ClientState.CLOSED:
                return
            lost_at = turn.at
    if lost_at is not None:
        yield lost_at, ended_at, False


class _Sum:
    """The state of a run, folded anew: not the protocol's own fold, so that the two check each other."""

    def __init__(self, state: RunState) -> None:
        self._grafts = dict(state.grafts)
        self._prunes = set(state.prunes)
        self._flags = list(state.flags)

    def add(self, event_type: str, data: Data) -> None:
        if event_type == GRAFT:
            self._grafts[data["position"]] = data
        elif event_type == PRUNE:
            self._prunes.add(data["step"])
        elif event_type == FLAG:
            self._flags.append(data)

    def state(self) -> RunState:
        return RunState(dict(self._grafts), tuple(sorted(self._prunes)), tuple(self._flags))


def states_claimed(facts: Facts, epoch: str) -> dict[int, list[tuple[str, RunState]]]:
    """The states that clients were given or have folded, by number: who, and what."""
    claimed: dict[int, list[tuple[str, RunState]]] = {}
    for client in facts.clients.values():
        total: _Sum | None = None
        for record, _, position in steps(client):
            if record.epoch != epoch:
                total = None
            elif isinstance(record, Delivered):
                if record.sequence_number == 1:
                    total = _Sum(RunState())
                if total is not None:
                    total.add(record.event_type, record.data)
            else:
                if total is not None:
                    claimed.setdefault(position, []).append((client.name, total.state()))
                total = _Sum(record.state)
                claimed.setdefault(record.sequence_number, []).append((f"the snapshot given to {client.name}", record.state))
        if total is not None:
            claimed.setdefault(client.position, []).append((client.name, total.state()))
    return claimed


def states_stored(facts: Facts, epoch: str, head: int, wanted: Container[int]) -> dict[int, RunState]:
    """The fold of a log that is there from its beginning, at the wanted numbers."""
    total = _Sum(RunState())
    states = {0: total.state()}
    for number in range(1, head + 1):
        entry = facts.entry(epoch, number)
        if entry is None:
            break
        total.add(entry.event_type, entry.data)
        if number in wanted:
            states[number] = total.state()
    return states


def steps(client: ClientFacts) -> Iterator[tuple[Progress, str | None, int]]:
    """Every record that moves the position, with the epoch and the position before it; epoch None: it had none."""
    epoch: str | None = None
    position = 0
    for record in client.progress():
        yield record, epoch, position
        epoch, position = record.epoch, record.sequence_number


def quiet_stretches(client: ClientFacts, ended_at: int) -> Iterator[tuple[int, int, str | None, int]]:
    """The stretches in which the client was LIVE and nothing arrived: start and end in ns, epoch and position."""
    quiet_since: int | None = None
    epoch: str | None = None
    position = 0
    for record in client.records:
        match record:
            case Delivered() | SnapshotTaken() | ResetTaken():
                if quiet_since is not None:
                    yield quiet_since, record.at, epoch, position
                    quiet_since = record.at
                epoch, position = record.epoch, record.sequence_number
            case StateTurned(state=state):
                if quiet_since is not None:
                    yield quiet_since, record.at, epoch, position
                quiet_since = record.at if state is ClientState.LIVE else None
            case _:
                pass
    if quiet_since is not None:
        yield quiet_since, ended_at, epoch, position
