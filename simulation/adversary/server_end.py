"""The server: a real Run, the model of its store, and the driver between them and the wires.

It dies and comes back as a step says; what is on its way to the store then arrives or not. It watches too: what a server must
not say is noted as it says it.
"""

from typing import assert_never

from reference.protocol import codec, frames
from reference.protocol.actions import Authenticate, Close, Deliver, Retire, Send
from reference.protocol.errors import CloseCode
from reference.protocol.records import Append
from reference.protocol.server.run import Run
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS, ns
from simulation.adversary.bounds import check
from simulation.adversary.ground import SERVER_KNOWS, Ground
from simulation.adversary.network import End, Opened, Request, Wire
from simulation.trace.wording import words_of


class AdversarialServer:
    """See the module. `run` is None while the server is down."""

    def __init__(self, ground: Ground) -> None:
        self.run: Run | None = None
        self.appends: list[Append] = []
        """Batches on their way to the store, in order."""
        self.checks: list[tuple[int, str]] = []
        """Connections whose tokens are being checked, and the tokens. A token is the name of its user."""
        self._ground = ground
        self._ending_of: dict[int, Wire | Request] = {}
        self._last_end = 0
        self._starts = 0
        self.restart()

    # Life and death.

    def restart(self) -> None:
        """The server is started, with what its store holds."""
        assert self.run is None
        ground = self._ground
        config = ground.setup.server if self._starts == 0 else ground.setup.server_later
        self._starts += 1
        self.run = Run(ground.store.load(), config=config, now=ground.server_now, registry=SERVER_KNOWS)
        ground.journal.server_restarted()
        ground.note("server", f"starts with {ground.store.now.epoch}, head {ground.store.now.head}")
        self.pump()

    def crash(self, stored: int) -> None:
        """The server dies. Of the batches on their way to the store, the first `stored` arrive."""
        self.run = None
        self._ground.note("server", "dies")
        self.commit(stored)
        self.appends.clear()
        self.checks.clear()
        self._ending_of.clear()
        for wire in self._ground.wires:
            if wire.server_stands:
                wire.server_stands = False
                wire.up.clear()
                wire.down.append(End())
        for request in self._ground.requests:
            if request.server_end is not None and not request.is_answered:
                request.fail(None, "the server died")

    def step_clock(self, ahead: int) -> None:
        """The server's clock is set forward by so many ns at once, or back while it restarts: a running one never goes back."""
        if ahead < 0 and self.run is not None:
            self.crash(0)
        self._ground.server_ahead += ahead
        if self.run is None:
            self.restart()
        else:
            self.ring()

    def lose_history(self, kept: int) -> None:
        """The server dies, and its store is restored from an older copy, or from none."""
        self.crash(0)
        store = self._ground.store
        store.begin(store.now.entries[:kept])
        self._ground.journal.history_lost(store.now.epoch, [str(entry.event.data["mark"]) for entry in store.now.entries])

    # The store.

    def commit(self, count: int) -> None:
        """The first `count` batches become durable, and the run, if it still lives, is told so."""
        for append in self.appends[:count]:
            self._ground.store.append(append)
            self._ground.journal.stored(append)
            self._ground.note("server", f"has stored up to {append.entries[-1].sequence_number}")
            if self.run is not None:
                self.run.handle_appended(append, self._ground.server_now)
        del self.appends[:count]
        self.pump()

    def fail_append(self, stored: int) -> None:
        """The store gives an error. The driver tells the run, drops it and loads it anew."""
        if self.run is None or not self.appends:
            return
        self.run.handle_append_failed(self._ground.server_now, "the disk is full")
        self.pump()
        self.crash(stored)
        self.restart()

    def check_nothing_waits(self) -> None:
        """A server that stops has stored whatever it gave a number."""
        assert self.run is not None
        waiting = [held.length for held in self.run.statistics().held if held.what == "events that are not durable"]
        if waiting != [0]:
            self._ground.journal.note("G11", f"the server stops with {waiting} numbered events that are not stored")

    # What arrives.

    def accept(self, wire: Wire) -> None:
        """A client wishes to open a WebSocket."""
        assert self.run is not None
        wire.server_end = end = self._new_end(wire)
        wire.server_stands = True
        ground = self._ground
        identity = None if ground.setup.token_in_hello else ground.identity_of(ground.users[wire.client])
        self.run.connection_opened(end, Transport.WEBSOCKET, identity, f"s{end}", ground.server_now)
        wire.down.append(Opened())
        self.pump()

    def receive(self, wire: Wire, item: bytes | End) -> None:
        """The next thing on a wire."""
        run, end, journal = self.run, wire.server_end, self._ground.journal
        if run is None or end is None or not wire.server_stands:
            return  # nobody listens
        if isinstance(item, End):
            self._lose(run, wire, end)
        else:
            frame = codec.decode_client_frame(item)
            if self._ground.message_log is not None:
                self._ground.message_log.arrived((wire, "up"), self._ground.now)
            client = _name(wire)
            was_owner, before = journal.owns(client, end), run.last_client_sequence(client)
            run.receive_frame(end, frame, self._ground.server_now)
            if isinstance(frame, frames.Publish) and not was_owner and run.last_client_sequence(client) != before:
                journal.note("G9", f"a connection of {client} published that does not own its session")
        self.pump()

    def take_request(self, request: Request) -> None:
        """An HTTP request."""
        assert self.run is not None
        request.server_end = end = self._new_end(request)
        if self._ground.message_log is not None:
            self._ground.message_log.arrived((request, "up"), self._ground.now)
        now = self._ground.server_now
        identity = self._ground.identity_of(self._ground.users[request.client])
        self.run.connection_opened(end, Transport.POLLING, identity, f"s{end}", now)
        self.run.receive_frame(end, request.frame, now)
        self.pump()

    def disown(self, request: Request) -> None:
        """Nobody waits any more for what the server will answer to a request that it has."""
        assert request.server_end is not None
        orphan = Request(request.client, request.lane, request.frame, client_waits=False, server_end=request.server_end)
        self._ending_of[request.server_end] = orphan

    def check_token(self) -> None:
        """The oldest token that waits is found good."""
        connection_id, token = self.checks.pop(0)
        assert self.run is not None
        self.run.handle_authenticated(connection_id, self._ground.identity_of(token), self._ground.server_now)
        self.pump()

    def sever(self, wire: Wire) -> None:
        """The server learns that a wire is dead."""
        wire.up.clear()
        if wire.server_stands and wire.server_end is not None and self.run is not None:
            self._lose(self.run, wire, wire.server_end)
            self.pump()

    def next_alarm(self) -> int | None:
        """In ns on the clients' clock."""
        due = None if self.run is None else self.run.next_deadline()
        return None if due is None else due - self._ground.server_ahead

    def ring(self) -> None:
        """The alarm rings, if it is due."""
        alarm = self.next_alarm()
        if self.run is not None and alarm is not None and alarm <= self._ground.now:
            self.run.handle_timeout(self._ground.server_now)
            alarm = self.next_alarm()
            assert alarm is None or alarm > self._ground.now, "an alarm that was served does not ring again at once"
            self.pump()
        self._check_patience()

    def _check_patience(self) -> None:
        """A reader that takes nothing of what waits for it is closed in time (G7: every wait has a limit)."""
        limit_s = self._ground.setup.server.slow_reader_timeout_s
        for wire in self._ground.wires:
            if wire.server_stands and wire.blocked_at is not None and self._ground.now - wire.blocked_at > ns(limit_s):
                self._ground.journal.note("G7", f"{_name(wire)} has taken nothing for more than {limit_s:g} s and is not closed")

    # The driver.

    def pump(self) -> None:
        """Do what the run asks for, until it asks for nothing more."""
        run = self.run
        while run is not None:
            append = run.events_to_append()
            if append is not None:
                self.appends.append(append)
            actions = run.take_actions()
            for action in actions:
                match action:
                    case Send(connection_ids, frame):
                        for connection_id in connection_ids:
                            self._say(run, connection_id, frame)
                    case Deliver(connection_ids):
                        for connection_id in connection_ids:
                            self._deliver(run, connection_id, action)
                        run.handle_fanned_out(self._ground.setup.fan_out_ms * NS_PER_MS, self._ground.server_now)
                    case Close(connection_ids, code, message, retry_after_ms):
                        for connection_id in connection_ids:
                            self._hang_up(connection_id, End(code, message, retry_after_ms))
                    case Authenticate(connection_id, token):
                        self.checks.append((connection_id, token or self._ground.users[self._ending_of[connection_id].client]))
                    case Retire():
                        self._reload()
                        return
                    case _:
                        assert_never(action)
            gave = [self._give(run, wire) for wire in self._ground.wires if wire.server_stands]
            if not actions and append is None and not any(gave):
                run.take_observations()
                check(run, self._ground.journal.note)
                break

    def _reload(self) -> None:
        """Nobody is here, and nothing is under way: the run leaves memory. Here somebody comes at once."""
        assert not self.appends, "a run that is in use does not leave"
        self.run = None
        self.restart()

    def _new_end(self, thing: Wire | Request) -> int:
        self._last_end += 1
        self._ending_of[self._last_end] = thing
        return self._last_end

    def _say(self, run: Run, connection_id: int, frame: frames.Frame) -> None:
        thing = self._ending_of[connection_id]
        is_http = isinstance(thing, Request)
        self._ground.journal.said(_name(thing), connection_id, frame, run.epoch, over_http=is_http)
        if self._ground.message_log is not None:
            self._ground.message_log.sent((thing, "down"), "server", _name(thing), words_of(frame), self._ground.now)
        if isinstance(thing, Request):
            assert not thing.is_answered, "a request gets one answer"
            thing.answer = codec.encode(frame)
            del self._ending_of[connection_id]
        else:
            thing.down.append(codec.encode(frame))

    def _deliver(self, run: Run, connection_id: int, batch: Deliver) -> None:
        wire = self._ending_of[connection_id]
        assert isinstance(wire, Wire)
        if wire.credit == 0:
            run.handle_refused(connection_id, batch, self._ground.server_now)
            wire.blocked_at = self._ground.now if wire.blocked_at is None else wire.blocked_at
            return
        self._ground.journal.delivers(_name(wire), connection_id, batch.frame)
        if wire.swallows:
            wire.swallows -= 1
        else:
            self._say(run, connection_id, batch.frame)
        if wire.credit is not None:
            wire.credit -= 1
            if wire.credit == 0:
                wire.blocked_at = self._ground.now
                run.handle_blocked(connection_id, batch, self._ground.server_now)

    def _give(self, run: Run, wire: Wire) -> bool:
        """Give a lagging reader what its socket takes. Returns whether anything was asked for."""
        end = wire.server_end
        asked = False
        while end is not None and run.is_lagging(end) and wire.credit != 0:
            batch = run.next_batch(end, self._ground.server_now)
            asked = True
            if batch is None:
                assert not run.is_lagging(end), "a reader that is given nothing more is current"
                break
            self._deliver(run, end, batch)
        return asked

    def _hang_up(self, connection_id: int, end: End) -> None:
        thing = self._ending_of.pop(connection_id)
        if end.code is not None and end.code >= 4400 and end.code != CloseCode.TOKEN:  # a token ends while its line is stalled
            self._ground.journal.note("G6", f"the server quarrels with honest {_name(thing)}: {end.code} {end.message}")
        if isinstance(thing, Request):
            thing.fail(end.code, end.message, end.retry_after_ms)
            return
        thing.server_stands = False
        thing.up.clear()
        thing.down.append(end)

    def _lose(self, run: Run, wire: Wire, end: int) -> None:
        wire.server_stands = False
        del self._ending_of[end]
        run.connection_lost(end, self._ground.server_now)


def _name(thing: Wire | Request) -> str:
    return f"client{thing.client}"
