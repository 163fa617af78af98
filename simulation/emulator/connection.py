"""One client's connection: two pipes between two streams, and what TCP does at both ends of them.

                 syn pipe (one packet)
    client  ---------------------------------->  server
    stream  -- read --> up pipe --- write ---->  stream
            <- write -- down pipe <--- read ---

Handshake. The client's connect() has succeeded before we know of it, so its round trip is added afterwards: a packet crosses to
the server, then we connect to it, then the answer crosses back, and only then the up pipe opens. The first byte reaches the
server three latencies after the connect, as on the real path; a path with TLS adds its round trips as well, whatever the bytes
are. If the server cannot be reached, a reset crosses back. If a client closes while an outage still holds its packet, it has
given up, and the server never gets the connection; so a half-close at that moment counts as giving up.

Endpoints. An end of stream crosses behind the bytes and half-closes the other side; after both, the connection is
over. A reset by one endpoint, detected when we read from it or write to it, crosses like an end and then resets the other side.
If an outage loses it, the next bytes that reach the endpoint cause another; after a lost refusal the client's packet crosses
again, by the schedule of a SYN.

Faults. `cut` resets both endpoints at once; a middlebox beyond the access link cannot reach a client during an outage. `silence`
holds both pipes, or one, for ever: nothing more arrives, senders find their buffers full after a while, and when both ends have
gone away the rest is removed. A silent connection cannot be cut.

A path's middlebox does the same to connections that are idle or old.
"""

from collections.abc import Callable

import trio
from msgspec.structs import replace
from trio.abc import HalfCloseableStream

from reference.protocol.timers import NS_PER_S
from simulation.emulator.pipe import EmulatedPipe, Mark, Segment
from simulation.emulator.sockets import Connect, abort
from simulation.emulator.statistics import Counters
from simulation.emulator.upgrades import FORBIDDEN_ANSWER, UpgradeWatch
from simulation.network.delay import Bottlenecks, PathDirections
from simulation.network.link_state import LinkState
from simulation.random import RandomStreams
from simulation.scenario.faults import Direction
from simulation.scenario.paths import Path

LINGER_S = 5.0
"""How long a client may take to close after a 403, in seconds; closing first could destroy the answer."""
_TLS_ROUND_TRIPS = {"none": 0, "1.3": 1, "1.2": 2}


class EmulatedConnection:
    """One connection, from its acceptance until both ends are gone; `run` is its whole life."""

    def __init__(
        self,
        name: str,
        client: HalfCloseableStream,
        connect: Connect,
        *,
        directions: PathDirections,
        bottlenecks: Bottlenecks,
        random_source: RandomStreams,
        origin: float,
        state: LinkState,
        counters: Counters,
        buffer_bytes_max: int,
    ) -> None:
        def pipe(direction: str, reset_lost: Callable[[], None]) -> EmulatedPipe:
            is_down = direction == "down"
            of_path, bottleneck = (directions.down, bottlenecks[1]) if is_down else (directions.up, bottlenecks[0])
            return EmulatedPipe(
                of_path,
                random_source.of(f"{name}/{direction}"),
                buffer_bytes_max=buffer_bytes_max,
                origin=origin,
                bottleneck=bottleneck,
                reset_lost=reset_lost,
            )

        def never() -> None:
            raise AssertionError("no reset is sent there")

        self._tcp, self._box = directions.path.tcp, directions.path.middlebox
        self._tls_round_trips_left = _TLS_ROUND_TRIPS[directions.path.tcp.tls]
        self._client = client
        self._server: HalfCloseableStream | None = None
        self._connect = connect
        self._state = state
        self._counters = counters
        self._syn, self._up, self._down = (
            pipe("syn", never),
            pipe("up", self._clients_reset_lost),
            pipe("down", self._servers_reset_lost),
        )
        self._watch = UpgradeWatch()
        self._scope = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._server_reading = trio.CancelScope()
        self._is_established = False  # as the client sees it
        self._has_crossed = False
        self._is_silent = False
        self._is_refused = False  # its upgrade was refused, in any way
        self._is_forbidden = False
        self._is_hanging = False
        self._reads_open = 1
        self._ends_delivered = 0
        self._client_left = trio.Event()
        self._up.hold()  # until the handshake is done
        state.apply_to(self)
        self._syn.dial()

    @property
    def bytes_held(self) -> int:
        return self._up.bytes_held + self._down.bytes_held

    async def run(self) -> None:
        """Carry bytes until both ends are gone. Network errors are events here, not exceptions."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_client)
                    nursery.start_soon(self._write_client)
                    nursery.start_soon(self._write_server, nursery)
                    if self._box.connection_age_max_s is not None:
                        nursery.start_soon(self._end_at_age, self._box.connection_age_max_s)
                    if self._box.idle_timeout_s is not None:
                        nursery.start_soon(self._end_when_idle, self._box.idle_timeout_s)
        finally:
            with trio.CancelScope(shield=True):  # a cancelled first close must not prevent the second
                for stream in self._streams():
                    await trio.aclose_forcefully(stream)

    # Called by the access link.

    def hold(self, direction: Direction = "both") -> None:
        self._each(direction, EmulatedPipe.hold, EmulatedPipe.hold_acks)

    def release(self, direction: Direction = "both") -> None:
        self._each(direction, EmulatedPipe.release, EmulatedPipe.release_acks)

    def _each(
        self, direction: Direction, for_data: Callable[[EmulatedPipe], None], for_acks: Callable[[EmulatedPipe], None]
    ) -> None:
        if direction != "down":
            for_data(self._syn)
            for_data(self._up)
            for_acks(self._down)
        if direction != "up":
            for_data(self._down)
            for_acks(self._up)

    def change_path(self, path: Path, bottlenecks: Bottlenecks) -> None:
        """Use another path from now on; TCP and the middlebox stay as they were when the connection was opened."""
        directions = PathDirections(replace(path, tcp=self._tcp, middlebox=self._box))
        self._syn.change_path(directions.up, bottlenecks[0])
        self._up.change_path(directions.up, bottlenecks[0])
        self._down.change_path(directions.down, bottlenecks[1])

    def stall(self) -> None:
        self._down.stall()

    def unstall(self) -> None:
        self._down.unstall()

    def cut(self) -> None:
        """Reset both endpoints now, whatever the state of the link."""
        if not (self._is_silent or self._scope.cancel_called):
            self._counters.connections_cut += 1
            self._abort_both()

    def cut_at_box(self) -> None:
        """A middlebox beyond the access link resets both endpoints; during an outage the reset does not reach the client."""
        if not self._down.is_down or self._is_silent or self._scope.cancel_called:
            self.cut()
            return
        self._counters.connections_cut += 1
        if self._server is not None:
            abort(self._server)
        self._down.push(Mark.RESET)  # which is lost

    def cut_if_websocket(self) -> None:
        if self._watch.is_upgraded and not self._is_refused:
            self.cut_at_box()

    def silence(self, direction: Direction = "both") -> None:
        """Become half-open: silent for ever, and neither endpoint is notified."""
        if self._scope.cancel_called:
            return
        if not self._is_silent:
            self._is_silent = True
            self._counters.connections_silenced += 1
        self.hold(direction)
        self._clear_up_if_both_left()

    async def _end_at_age(self, age_max_s: float) -> None:
        await trio.sleep(age_max_s)
        self.cut_at_box()

    async def _end_when_idle(self, timeout_s: float) -> None:
        began_at, pipes = self._syn.pushed_at, (self._syn, self._up, self._down)
        started_at = trio.current_time()
        while not self._is_silent:
            last_s = (max(pipe.pushed_at for pipe in pipes) - began_at) / NS_PER_S
            kill_at = started_at + last_s + timeout_s
            if kill_at <= trio.current_time():
                (self.cut_at_box if self._box.idle_effect == "reset" else self.silence)()
                return
            await trio.sleep_until(kill_at)

    # Called by the endpoints.

    async def _read_client(self) -> None:
        await self._read(self._client, self._up)
        if not self._has_crossed and not self._syn.has_dialled():
            self._counters.connections_abandoned += 1
            self._scope.cancel()

    async def _read_server(self, server: HalfCloseableStream) -> None:
        with self._server_reading:
            await self._read(server, self._down)

    async def _read(self, source: HalfCloseableStream, pipe: EmulatedPipe) -> None:
        try:
            while data := await source.receive_some(await pipe.room()):
                pipe.push(Mark.BYTES, bytes(data))
            pipe.push(Mark.END)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pipe.push(Mark.RESET)
        finally:
            self._reads_open -= 1
            self._clear_up_if_both_left()

    async def _write_server(self, nursery: trio.Nursery) -> None:
        while True:  # once for each SYN that arrives
            await self._syn.next()
            self._has_crossed = True
            try:
                server = self._server = await self._connect()
            except OSError:
                self._counters.connections_refused += 1
                self._down.push(Mark.RESET)
                continue
            with trio.CancelScope() as self._serving:
                await self._serve(server, nursery)

    async def _serve(self, server: HalfCloseableStream, nursery: trio.Nursery) -> None:
        self._counters.connections_established += 1
        self._down.push(Mark.OPENED)
        self._reads_open += 1
        nursery.start_soon(self._read_server, server)
        for _ in range(self._tls_round_trips_left):
            await self._syn.next()
            self._down.push(Mark.OPENED)
        while True:
            segment = await self._up.next()
            self._up.join_arrived(segment)
            try:
                await self._deliver_to_server(segment, server, nursery)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._down.push(Mark.RESET)  # for each that arrives: the one before may have been lost

    async def _deliver_to_server(self, segment: Segment, server: HalfCloseableStream, nursery: trio.Nursery) -> None:
        if segment.mark is Mark.RESET:
            self._pass_reset_on()
        elif self._is_forbidden or self._is_hanging:
            if segment.mark is Mark.END:
                self._client_left.set()
                if self._is_hanging:
                    self._scope.cancel()
        elif segment.mark is Mark.END:
            await self._send_to_server(server, self._watch.flush())
            await server.send_eof()
            self._end_delivered()
        else:
            handling = self._state.upgrades
            was_upgraded = self._watch.is_upgraded
            data, is_forbidden = self._watch.feed(segment.data, is_blocking=handling != "pass")
            await self._send_to_server(server, data)
            self._is_refused = self._is_refused or is_forbidden
            if is_forbidden and handling == "strip":
                self._counters.upgrades_refused += 1
                await self._send_to_server(server, self._watch.strip())
            elif is_forbidden:
                await self._forbid_upgrade(server, is_answered=handling == "block")
            elif self._watch.is_upgraded and not was_upgraded and self._box.websocket_age_max_s is not None:
                nursery.start_soon(self._end_at_age, self._box.websocket_age_max_s)

    async def _send_to_server(self, server: HalfCloseableStream, data: bytes) -> None:
        if data:
            await server.send_all(data)
            self._counters.bytes_to_server += len(data)

    async def _forbid_upgrade(self, server: HalfCloseableStream, *, is_answered: bool) -> None:
        self._is_forbidden, self._is_hanging = is_answered, not is_answered
        self._counters.upgrades_refused += 1
        self._server_reading.cancel()
        await trio.aclose_forcefully(server)
        if not is_answered:
            return
        self._down.push(Mark.BYTES, FORBIDDEN_ANSWER)
        self._down.push(Mark.END)

    async def _write_client(self) -> None:
        while True:
            segment = await self._down.next()
            self._is_established = self._is_established or segment.mark is Mark.OPENED
            try:
                await self._deliver_to_client(segment)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._up.push(Mark.RESET)

    async def _deliver_to_client(self, segment: Segment) -> None:
        match segment.mark:
            case Mark.OPENED if self._tls_round_trips_left:
                self._tls_round_trips_left -= 1
                self._syn.push(Mark.OPENED)
            case Mark.OPENED:
                self._up.open()
            case Mark.BYTES:
                await self._client.send_all(segment.data)
                self._counters.bytes_to_client += len(segment.data)
            case Mark.END:
                await self._client.send_eof()
                await self._linger_if_forbidden()
                self._end_delivered()
            case Mark.RESET:
                self._pass_reset_on()

    async def _linger_if_forbidden(self) -> None:
        if self._is_forbidden:
            with trio.move_on_after(LINGER_S):
                await self._client_left.wait()
            self._scope.cancel()

    def _servers_reset_lost(self) -> None:
        """The server's answer never arrives; a client that is connecting sends its SYN again."""
        self._clear_up_if_both_left(is_reset_lost=True)
        if self._has_crossed and not self._is_established:
            self._has_crossed = False
            self._serving.cancel()
            self._syn.dial_again()

    def _clients_reset_lost(self) -> None:
        """The next bytes that reach the client cause another reset."""
        self._clear_up_if_both_left(is_reset_lost=True)

    # The endings.

    def _end_delivered(self) -> None:
        self._ends_delivered += 1
        if self._ends_delivered == 2:
            self._scope.cancel()

    def _pass_reset_on(self) -> None:
        if self._server is not None:  # else nothing was reset: the server was never reached, and is counted as that
            self._counters.connections_reset += 1
        self._abort_both()

    def _clear_up_if_both_left(self, *, is_reset_lost: bool = False) -> None:
        if (self._is_silent or is_reset_lost) and self._reads_open == 0:
            self._scope.cancel()

    def _abort_both(self) -> None:
        self._scope.cancel()  # before the streams are closed under the tasks that use them
        for stream in self._streams():
            abort(stream)

    def _streams(self) -> tuple[HalfCloseableStream, ...]:
        return (self._client,) if self._server is None else (self._client, self._server)
