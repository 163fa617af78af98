"""The real server and the real client (depth c): cancelled at any checkpoint, read slowly, half closed, with a failing disk."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog.testing
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.client import ReceivedFrame, connect
from reference.protocol import frames
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import CloseCode
from reference.protocol.events import Event
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.records import Append
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import MemoryPushStream
from reference.store import MemoryStore, StoreError, StoreUnavailable
from reference.store.kept import parsed
from tests.client.harness import CancelAt
from tests.protocol.machines import Always
from tests.server.running_server import frame_client_on

FEW = settings(max_examples=settings.default.max_examples if settings.default.max_examples > 100 else 6)
RUN_ID = "01234567-89ab-cdef-0123-456789abcdef"
CONFIG = ClientConfig(start="oldest", ping_interval_s=2.0, ping_timeout_s=2.0, connect_timeout_s=3.0, retry_limit=1000)
POLICY = FullJitter(cap_s=2.0)
PAYLOAD = "x" * 500
SLOW_READER_TIMEOUT_S = 20


class BadDisk(MemoryStore):
    """A store that refuses some appends, and has stored what it refused, or not. `plan`: of the appends in order."""

    def __init__(self, plan: Sequence[str] = ()) -> None:
        super().__init__()
        self.plan = list(plan)

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        await trio.sleep(0.05)
        what = self.plan.pop(0) if self.plan else "store"
        outcomes = [] if what == "lose" else await super().append(batches)
        return outcomes if what == "store" else [StoreUnavailable("the disk is bad") for _ in batches]


@dataclass
class Reader:
    """An application that reads with pauses, and keeps what it was given."""

    events: list[Event] = field(default_factory=list)
    grown: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    @property
    def numbers(self) -> list[int | None]:
        return [event.sequence_number for event in self.events]


def in_virtual_time(play) -> None:  # type: ignore[no-untyped-def] - an async function without arguments
    with structlog.testing.capture_logs():
        trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))


@asynccontextmanager
async def serve(store: BadDisk | None = None) -> AsyncIterator[Server]:
    """A server with one run, on that disk or on a good one."""
    store = store or BadDisk()
    await store.create_run(RUN_ID, "E1")
    protocol = ServerConfig(
        heartbeat_interval_s=3.0, silence_max_s=8.0, batch_events_max=7, slow_reader_timeout_s=SLOW_READER_TIMEOUT_S
    )
    async with open_server(ServerSettings(protocol=protocol), store=store, origin_ns=10**18, listening=False) as server:
        yield server


def join(  # type: ignore[no-untyped-def]
    server: Server,
    name: str,
    capacity_bytes: int | None = None,
    *,
    client_id: str | None = None,
    streams: list[MemoryPushStream] | None = None,
    **options,
):
    """A client of that user; `streams` collects the connections that it opens."""

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        stream = server.connect(capacity_bytes=capacity_bytes)
        if streams is not None:
            streams.append(stream)
        return stream

    return connect(
        "http://server",
        RUN_ID,
        token=f"dev:{name}",
        client_id=client_id or name,
        config=CONFIG,
        policy=POLICY,
        random_source=Always(0.5),
        open_stream=open_stream,
        **options,
    )


@dataclass
class WireTap:
    """What each connection brought: events without a gap, whatever the inbox would make of one."""

    last: dict[int, int] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    def __call__(self, now: int, what: object) -> None:
        if isinstance(what, ReceivedFrame) and isinstance(what.frame, frames.Events):
            numbers = [event.sequence_number or 0 for event in what.frame.events]
            before = self.last.get(what.connection_id)
            if before is not None and numbers and numbers[0] != before + 1:
                self.gaps.append(f"{numbers[0]} after {before}")
            self.last[what.connection_id] = numbers[-1] if numbers else before or 0


async def read(client, reader: Reader, pauses: Sequence[float] = ()) -> None:  # type: ignore[no-untyped-def]
    waits = list(pauses)
    async for event in client:
        if isinstance(event, Event) and event.sequence_number is not None:
            reader.events.append(event)
            reader.grown.unpark_all()
            if waits:
                await trio.sleep(waits.pop())


async def stay(joining, task_status) -> None:  # type: ignore[no-untyped-def]
    """A client for the rest of the test."""
    async with joining as client:
        task_status.started(client)
        await trio.sleep_forever()


async def until(reader: Reader, count: int) -> None:
    with trio.fail_after(300):
        while len(reader.events) < count:
            await reader.grown.park()


@FEW
@given(
    pauses=st.lists(st.sampled_from([0.0, 0.2, 1.5, 5.0]), max_size=8),
    capacity_bytes=st.sampled_from([1500, 4000, 20_000]),
    bursts=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    waiting_max=st.sampled_from([1, 4, 1000]),
)
def test_g1_order_for_a_slow_reader(pauses: list[float], capacity_bytes: int, bursts: list[int], waiting_max: int) -> None:
    """A slow reader with a small socket buffer reads everything, in order, once, and delays nobody."""

    async def play() -> None:
        slow, quick, tap = Reader(), Reader(), WireTap()
        async with (
            serve() as server,
            trio.open_nursery() as nursery,
            join(server, "ada") as ada,
            join(server, "ben", capacity_bytes, outcomes_waiting_max=waiting_max, tap=tap) as ben,
        ):
            nursery.start_soon(read, ada, quick)
            nursery.start_soon(read, ben, slow, pauses)
            await trio.sleep(1.0)
            for burst in bursts:
                for _ in range(burst):
                    ada.publish_soon("CHAT", {"text": PAYLOAD})
                await trio.sleep(1.0)
                assert len(quick.events) == ada.position[1], "the quick one waits for nobody"
            late = Reader()
            cyd = await nursery.start(stay, join(server, "cyd"))
            nursery.start_soon(read, cyd, late)
            with trio.fail_after(1):  # sooner than it would notice that something is missing
                await until(late, sum(bursts))
            for reader in (quick, slow, late):
                await until(reader, sum(bursts))
                assert reader.numbers == list(range(1, sum(bursts) + 1))
            assert not tap.gaps, tap.gaps[0]
            nursery.cancel_scope.cancel()

    in_virtual_time(play)


@FEW
@given(
    plan=st.lists(st.sampled_from(["store", "lose", "store in secret"]), max_size=6),
    publishes=st.integers(1, 12),
    pause_s=st.sampled_from([0.0, 0.03, 0.3]),
)
def test_g3_once_on_a_bad_disk(plan: list[str], publishes: int, pause_s: float) -> None:
    """Whatever the disk refuses, with or without keeping it: each publish is accepted, and stands in the log once, in order."""

    async def play() -> None:
        store = BadDisk(plan)
        reader = Reader()
        async with (
            serve(store) as server,
            trio.open_nursery() as nursery,
            join(server, "ada") as ada,
            join(server, "ben") as ben,
        ):
            nursery.start_soon(read, ada, Reader())
            nursery.start_soon(read, ben, reader)
            tickets = []
            for number in range(publishes):
                tickets.append(ada.publish_soon("CHAT", {"n": number}))
                await trio.sleep(pause_s)
            with trio.fail_after(300):
                numbers = [await ticket.accepted() for ticket in tickets]
            await until(reader, publishes)
            assert [event.data["n"] for event in reader.events] == list(range(publishes))
            stored = await store.load_run(RUN_ID)
            assert stored is not None
            in_log = {event.sequence_number: event.data["n"] for event in parsed(stored).events}
            assert in_log == dict(zip(numbers, range(publishes), strict=True))
            nursery.cancel_scope.cancel()

    in_virtual_time(play)


@FEW
@given(steps=st.integers(1, 600), publishes=st.integers(0, 3))
def test_g9_a_client_that_is_cancelled_anywhere_leaves_nothing_behind(steps: int, publishes: int) -> None:
    """At any step of any task: its block ends, its session leaves the run, and the others go on."""

    async def play() -> None:
        reader = Reader()
        async with serve() as server, trio.open_nursery() as nursery, join(server, "ben") as ben:
            nursery.start_soon(read, ben, reader)
            await trio.sleep(1.0)
            with trio.fail_after(200), trio.CancelScope() as scope:
                instrument = CancelAt(scope, steps)
                trio.lowlevel.add_instrument(instrument)
                try:
                    async with join(server, "ada") as ada:
                        for number in range(publishes):
                            await ada.publish("CHAT", {"n": number})
                        await trio.sleep(5.0)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            await trio.sleep(60.0)
            assert ben.active_users == ("ben",)
            number = await ben.publish("CHAT", {"n": "after"})
            await until(reader, number)
            assert reader.numbers == list(range(1, number + 1))
            nursery.cancel_scope.cancel()

    in_virtual_time(play)


@FEW
@given(after_frames=st.integers(0, 5), finishes=st.booleans())
def test_g6_recovery_from_a_connection_that_is_half_closed(after_frames: int, finishes: bool) -> None:
    """The server's direction ends while the client's goes on, or the client's stream is cut: it comes back and misses nothing."""

    async def play() -> None:
        reader, streams = Reader(), []
        async with serve() as server, trio.open_nursery() as nursery, join(server, "ada", streams=streams) as ada:
            nursery.start_soon(read, ada, reader)
            for number in range(after_frames):
                await ada.publish("CHAT", {"n": number})
            await trio.sleep(0.5)
            if finishes:
                await streams[0].send_eof()
            else:
                streams[0].abort()
            await trio.sleep(0.1)
            assert server.statistics().websockets == 0, "the server learns of an end when it comes, and not by silence"
            ticket = ada.publish_soon("CHAT", {"n": after_frames})
            with trio.fail_after(3):  # before the client would learn by silence that its line is dead
                await ticket.accepted()
            await until(reader, after_frames + 1)
            assert reader.numbers == list(range(1, after_frames + 2))
            nursery.cancel_scope.cancel()

    in_virtual_time(play)


@FEW
@given(
    pings=st.integers(0, 60),
    bursts=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    capacity_bytes=st.sampled_from([1024, 4000]),
)
def test_g1_order_behind_answers_that_are_not_taken(pings: int, bursts: list[int], capacity_bytes: int) -> None:
    """A socket that answers have filled is given no event that it does not take, and each in the end."""

    async def play() -> None:
        async with (
            serve() as server,
            join(server, "ada") as ada,
            frame_client_on(server.connect(capacity_bytes=capacity_bytes), RUN_ID) as busy,
        ):
            await busy.hello("busy")
            published = 0
            for burst in bursts:
                for nonce in range(pings):
                    await busy.send("ping", nonce=nonce)
                await trio.sleep(0.1)
                for _ in range(burst):
                    await ada.publish("CHAT", {"text": PAYLOAD})
                published += burst
                with trio.fail_after(10):
                    await busy.events(published)
                assert busy.numbers_received() == list(range(1, published + 1))

    in_virtual_time(play)


@FEW
@given(burst=st.integers(20, 60), capacity_bytes=st.sampled_from([1500, 4000]))
def test_g7_bounds_a_reader_that_never_reads_is_cut(burst: int, capacity_bytes: int) -> None:
    """A client that takes no data is disconnected after the limit, even if it continues to ping."""

    async def play() -> None:
        async with (
            serve() as server,
            join(server, "ada") as ada,
            frame_client_on(server.connect(capacity_bytes=capacity_bytes), RUN_ID) as deaf,
        ):
            await deaf.hello("deaf")
            for _ in range(burst):
                await ada.publish("CHAT", {"text": PAYLOAD})
            assert server.statistics().websockets == 2
            for nonce in range(SLOW_READER_TIMEOUT_S):
                await deaf.send("ping", nonce=nonce)
                await trio.sleep(1.0)
            await trio.sleep(1.0)
            assert server.statistics().websockets == 1, "the other one is left"

    in_virtual_time(play)


@FEW
@given(whose=st.sampled_from(["ada", "ben"]), publishes=st.integers(0, 3))
def test_g10_a_code_that_forbids_reconnecting_reaches_the_session(whose: str, publishes: int) -> None:
    """Someone else brings a client id that is taken: the session ends with the server's code, after one attempt."""

    async def play() -> None:
        async with serve() as server, join(server, whose) as owner:
            await trio.sleep(1.0)
            for _ in range(publishes):
                await owner.publish("CHAT", {})
            streams = []
            with trio.fail_after(300):
                async with join(server, "eve", client_id=whose, streams=streams) as eve:
                    ended = [outcome async for outcome in eve]
            assert [(type(outcome), outcome.code) for outcome in ended] == [(SessionEnded, CloseCode.FORBIDDEN)]
            assert len(streams) == 1

    in_virtual_time(play)
