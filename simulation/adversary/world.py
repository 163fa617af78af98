"""A hostile link: real client sessions and a real run, and everything between them that can go wrong.

    application -> ClientSession -> Wire or PendingRequest -> Run -> StoreModel
                        |                              |
                        '--------- Journal ------------'      (writes the trace that `simulation.checks` judges)

Time is an integer that only `steps` move, and nothing happens by itself: every delivery, loss, cut, commit and crash is a step
that Hypothesis drew, so a failing example is a list of steps that anyone can read and replay. The link does what TCP and a dying
server can do, and no more: what arrives on one wire arrives in order and whole, but when, and whether the other end ever learns
of the end, is anyone's guess. Frames pass through the codec.

`AdversarialWorld.calm` is the link without malice: everything is delivered within a millisecond and alarms ring on time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from reference.protocol.timers import NS_PER_MS, ns
from simulation.adversary.client_end import Host
from simulation.adversary.ground import WAIT_MAX_S, Ground, Setup
from simulation.adversary.journal import Journal
from simulation.adversary.network import PendingRequest, Wire
from simulation.adversary.server_end import AdversarialServer
from simulation.checks.checkers import check
from simulation.trace.messages import MessageLog
from simulation.trace.trace import Trace

__all__ = ["WAIT_MAX_S", "AdversarialWorld", "Broken", "Host", "Setup"]
ROUNDS_MAX = 50_000


@dataclass(frozen=True)
class Broken:
    """A guarantee that was broken, and how."""

    guarantee: str
    what: str


class AdversarialWorld(Ground):
    """See the module."""

    def __init__(self, setup: Setup, message_log: MessageLog | None = None) -> None:
        super().__init__(setup, message_log)
        self.server = AdversarialServer(self)
        self.hosts: list[Host] = []
        for user in setup.users:
            self.join(user)

    @property
    def present(self) -> list[Host]:
        """The clients that have not left."""
        return [host for host in self.hosts if not host.is_gone]

    def join(self, user: str) -> Host:
        """A new client: a page is opened, a notebook is started."""
        host = Host(self, user)
        self.hosts.append(host)
        return host

    @property
    def trace(self) -> Trace:
        """What has happened so far, with what the store holds now."""
        trace = Trace(self.journal.trace)
        Journal(trace, lambda: self.now).log_is(self.store.now)
        return trace

    def broken(self) -> list[Broken]:
        """Judge what has happened so far."""
        return [Broken(name, what) for name, verdict in check(self.trace).items() for what in verdict.violations]

    # What arrives.

    def move_up(self, wire: Wire) -> None:
        """The next thing that a client sent, if there is one, arrives at the server."""
        if wire.moves_up:
            self.server.receive(wire, wire.up.popleft())

    def move_down(self, wire: Wire) -> None:
        """The next thing that the server sent, if there is one, arrives at the client."""
        if wire.moves_down:
            self.hosts[wire.client].receive(wire, wire.down.popleft())

    def answer(self, request: PendingRequest) -> None:
        """The answer to an HTTP request arrives, or the news that there will be none."""
        self.requests.remove(request)
        self.hosts[request.client].receive_answer(request)

    # Time.

    def ring(self) -> None:
        """Every alarm that is due by now rings."""
        for host in self.hosts:
            host.ring()
        self.server.ring()

    def next_alarm(self) -> int | None:
        alarms = [self.server.next_alarm(), *(host.session.next_deadline() for host in self.hosts)]
        return min((alarm for alarm in alarms if alarm is not None), default=None)

    @property
    def is_asked_to_open(self) -> bool:
        """Whether some client wishes to open a WebSocket."""
        return any(wire.is_opening and wire.client_stands for wire in self.wires)

    @property
    def is_asked_over_http(self) -> bool:
        """Whether a request has been sent and not arrived."""
        return any(request.is_in_flight and not request.is_stalled for request in self.requests)

    def calm(self, duration_s: float, *, until: Callable[["AdversarialWorld"], bool] = lambda _: False) -> None:
        """Let everything go as it should for a while: a message takes a millisecond, and alarms ring on time.

        No longer than until `until` says so, which is asked before anything moves.
        """
        end = self.now + ns(duration_s)
        for _ in range(ROUNDS_MAX):
            if until(self):
                break
            if self._move_everything():
                self.now += NS_PER_MS
            elif (alarm := self.next_alarm()) is None or alarm > end:
                self.now = max(self.now, end)
                break
            else:
                self.now = max(self.now, alarm)
            self.ring()
            if self.now >= end:
                break
        else:
            raise AssertionError(f"no rest within {ROUNDS_MAX} rounds")

    def _move_everything(self) -> bool:
        """One step of everything that can move. Returns whether anything did."""
        self.wires = [wire for wire in self.wires if not wire.is_over]
        server = self.server
        moves: list[Callable[[], None]] = []
        for wire in self.wires:
            moves += self._moves_of(wire)
        for request in self.requests:
            if request.is_stalled:
                continue
            if request.is_answered:
                moves.append(partial(self.answer, request))
            elif request.is_in_flight and server.run is not None:
                moves.append(partial(server.take_request, request))
            elif request.is_in_flight:
                request.fail(None, "connection refused")
        if server.appends:
            moves.append(partial(server.commit, len(server.appends)))
        if server.checks and server.run is not None:
            moves.append(server.check_token)
        for move in moves:
            move()
        return bool(moves)

    def _moves_of(self, wire: Wire) -> list[Callable[[], None]]:
        moves: list[Callable[[], None]] = []
        if wire.is_opening and wire.client_stands:
            host = self.hosts[wire.client]
            is_refused = host.blocked or self.server.run is None
            moves.append(partial(host.sever if is_refused else self.server.accept, wire))
        if wire.moves_up and not wire.up_is_stalled:
            moves += [partial(self.move_up, wire)] * len(wire.up)
        if wire.moves_down and not wire.down_is_stalled:
            moves += [partial(self.move_down, wire)] * len(wire.down)
        return moves
