"""One server and one or two clients, without faults."""

from itertools import pairwise

import pytest
import trio
import trio.testing
import trio_websocket

from reference.client import Client, PublishFailedError, ReceivedFrame, UndeliveredError
from reference.client.websocket import OUTGOING_FRAMES_MAX
from reference.protocol import frames
from reference.protocol.actions import Open, Send
from reference.protocol.client.health import Health, Status
from reference.protocol.client.outcomes import FailureCode, PublishAccepted, SessionEnded, SnapshotReceived, StateChanged
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import CloseCode, InvalidEvent, OutboxFull, SessionClosed
from reference.protocol.events import CURSOR_MOVE, Event
from reference.protocol.records import RunState
from reference.protocol.server.connection import Identity
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import Server, problem
from tests.client.scripted import Scripted, websocket, welcome
from tests.passing_stream import PassingStream


async def test_publish_returns_the_sequence_number(join: Connect) -> None:
    async with join() as client:
        assert await client.publish("CHAT", {"text": "one"}) == 1
        assert await client.publish("FLAG", {"text": "two"}) == 2
        assert client.queued_messages == 0


async def test_publish_soon_keeps_the_order_and_needs_no_connection(join: Connect, server: Server) -> None:
    async with join() as client:
        tickets = [client.publish_soon("CHAT", {"n": n}) for n in range(200)]
        assert client.state is ClientState.CONNECTING
        assert client.queued_messages == 200
        assert [await ticket.accepted() for ticket in tickets] == list(range(1, 201))
    assert [event.data["n"] for event in server.run.read(0, 256)] == list(range(200))
    assert await tickets[0].accepted() == 1, "a ticket may be asked again, after the block too"


async def test_what_is_received_comes_in_order(join: Connect, server: Server) -> None:
    async with join() as client:
        await client.wait_until(ClientState.LIVE)
        await server.publish(300)
        events = client.events()
        numbers = [(await anext(events)).sequence_number for _ in range(301)]
        assert numbers[0] is None, "USER_JOIN of oneself is the first, and has no number"
        assert numbers[1:] == list(range(1, 301))
        assert client.position == (server.run.epoch, 300)


async def test_a_late_joiner_gets_a_snapshot_then_what_follows(join: Connect, server: Server) -> None:
    async with join() as client:
        await client.publish("GRAFT", {"position": "p1", "x": 1})
    async with join(client_id="late") as client:
        async for outcome in client:
            if isinstance(outcome, SnapshotReceived):
                break
        assert outcome.snapshot.sequence_number == 0
        event = await anext(client)
        assert isinstance(event, Event)
        assert event.data == {"position": "p1", "x": 1}


async def test_presence_and_cursors(join: Connect, server: Server) -> None:
    server.tokens["grace"] = Identity("grace")
    async with join() as ada, join(token="grace") as grace:
        await grace.wait_until(ClientState.LIVE)
        for x in range(50):
            grace.move_cursor({"x": x})
        async for event in ada.events():
            if event.event_type == CURSOR_MOVE and event.data == {"x": 49}:
                break
        assert event.user_id == "grace"
        await trio.sleep(ServerConfig().presence_interval_s)  # the second arrival is sent that much later, and cursors sooner
        assert ada.active_users == ("ada", "grace")


async def test_leaving_says_bye_so_presence_goes_at_once(join: Connect, server: Server) -> None:
    async with join() as client:
        await client.wait_until(ClientState.LIVE)
        assert server.run.active_users == ("ada",)
        before = trio.current_time()
    assert trio.current_time() - before < 1
    await trio.testing.wait_all_tasks_blocked()
    assert server.run.active_users == ()
    assert all(wire.is_closed for wire in server.wires)


async def test_the_block_waits_for_open_answers(join: Connect, server: Server) -> None:
    async with join() as client:
        tickets = [client.publish_soon("CHAT", {"n": n}) for n in range(10)]
    assert [await ticket.accepted() for ticket in tickets] == list(range(1, 11))

    async def leave_hastily() -> None:
        async with join(client_id="hasty", drain_s=0) as client:
            tickets.append(client.publish_soon("CHAT", {}))

    with pytest.raises(UndeliveredError, match=r"^1 publishes were not accepted within the 0 s of drain_s; the first: .*"):
        await leave_hastily()
    ticket = tickets[-1]
    with pytest.raises(PublishFailedError) as caught:
        await ticket.accepted()
    assert caught.value.code == FailureCode.CLOSED
    assert not caught.value.may_have_arrived


async def test_drain_gives_up_when_its_time_is_over(join: Connect, server: Server) -> None:
    server.is_down = True

    async def use() -> None:
        async with join(drain_s=5.0) as client:
            client.publish_soon("CHAT", {})

    before = trio.current_time()
    with pytest.raises(UndeliveredError, match="1 publishes were not accepted within the 5 s of drain_s"):
        await use()
    assert trio.current_time() - before == pytest.approx(5.0)


async def test_a_block_that_raises_raises_its_own_error_and_the_lost_publishes_are_logged(
    join: Connect, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.is_down = True

    async def use() -> None:
        async with join() as client:
            client.publish_soon("CHAT", {})
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await use()
    assert any("1 publishes were given up" in record.getMessage() for record in caplog.records)


async def test_an_awaited_publish_fails_once(join: Connect, server: Server) -> None:
    server.is_down = True
    async with join(drain_s=1) as client, trio.open_nursery() as nursery:

        async def publish() -> None:
            with pytest.raises(PublishFailedError):
                await client.publish("CHAT", {})

        nursery.start_soon(publish)
        await trio.sleep(0.1)
        client._io.feed(client._session.close, client._io.now())


async def test_what_a_fatal_code_gives_up_is_raised_too(join: Connect, server: Server) -> None:
    server.is_down = True

    async def use() -> None:
        async with join() as client:
            client.publish_soon("CHAT", {})
            server.is_down = False
            server.refuse = lambda target: problem(403, CloseCode.FORBIDDEN, "not yours")
            assert [type(outcome) async for outcome in client][-1] is SessionEnded
            with pytest.raises(SessionClosed, match=r"^the session has ended: not yours \[4403\]$") as caught:
                client.publish_soon("CHAT", {})
            assert caught.value.code == CloseCode.FORBIDDEN
            with pytest.raises(SessionClosed, match="not yours") as caught:
                await client.wait_until(ClientState.LIVE)
            assert caught.value.code == CloseCode.FORBIDDEN

    with pytest.raises(UndeliveredError, match=r"the first: the session ended: not yours \[closed\]"):
        await use()


async def test_iteration_ends_after_the_end_of_the_session(join: Connect) -> None:
    outcomes = []

    async def read(client: Client) -> None:
        outcomes.extend([outcome async for outcome in client])

    async with trio.open_nursery() as nursery, join() as client:
        nursery.start_soon(read, client)
        await client.publish("CHAT", {})
    assert isinstance(outcomes[-1], SessionEnded)
    assert [outcome async for outcome in client] == []
    assert client.state is ClientState.CLOSED
    with pytest.raises(SessionClosed):
        await client.publish("CHAT", {})
    with pytest.raises(SessionClosed):
        client.move_cursor({})
    with pytest.raises(SessionClosed, match="ended before"):
        await client.wait_until(ClientState.LIVE)


async def test_what_cannot_be_published_raises_at_once(join: Connect) -> None:
    config = ClientConfig(outbox_messages_max=64)
    async with join(config=config) as client:
        with pytest.raises(InvalidEvent, match="unknown event type 'NOPE'"):
            client.publish_soon("NOPE", {})
        with pytest.raises(InvalidEvent, match=r"needs data\.position"):
            await client.publish("GRAFT", {})
        for _ in range(64):
            client.publish_soon("CHAT", {})
        with pytest.raises(OutboxFull):
            client.publish_soon("CHAT", {})


async def test_one_publish_that_is_too_big_fails_alone(join: Connect) -> None:
    async with join() as client:
        with pytest.raises(InvalidEvent, match="the server takes 65536"):
            await client.publish("CHAT", {"text": "x" * 70_000})
        assert await client.publish("CHAT", {"text": "small"}) == 1


async def test_a_dropped_publish_settles_its_ticket(join: Connect, server: Server) -> None:
    server.is_down = True
    async with join(config=ClientConfig(outbox_messages_max=64, outbox_policy="drop_oldest")) as client:
        tickets = [client.publish_soon("CHAT", {"n": n}) for n in range(65)]
        with pytest.raises(PublishFailedError) as caught:
            await tickets[0].accepted()
        assert caught.value.code == FailureCode.DROPPED
        assert "dropped" in str(caught.value)
        assert tickets[1].result is None
        assert "waiting" in repr(tickets[1])
        server.is_down = False


async def test_a_cancelled_publish_is_not_withdrawn(join: Connect, server: Server) -> None:
    async with join() as client:
        with trio.move_on_after(0):
            await client.publish("CHAT", {"n": 1})
        await client.wait_until(lambda client: client.position[1] == 1)
    assert server.run.head == 1


async def test_health_is_frozen_and_its_changes_are_conflated(join: Connect, server: Server) -> None:
    async with join() as client:
        assert client.health.status is Status.DISCONNECTED
        changes = client.health_changes()
        first = await anext(changes)
        assert first == client.health
        await client.wait_until(ClientState.LIVE)
        for n in range(100):
            await client.publish("CHAT", {"n": n})
        await trio.sleep(35)
        assert first.round_trip.samples == 0, "a snapshot does not change"
        latest = await anext(changes)
        assert latest == client.health
        assert latest.status is Status.CONNECTED
        assert latest.delivery_rate == 1.0
        assert latest.round_trip.samples == 4, "one ping on arrival and one every 10 s"

        seen: list[tuple[float, Health]] = []
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                seen.extend([(trio.current_time(), health) async for health in changes])

            nursery.start_soon(watch)
            for n in range(200):
                client.publish_soon("CHAT", {"n": n})
                await trio.sleep(0.005)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        times = [time for time, _ in seen]
        assert all(later - earlier >= 0.099 for earlier, later in pairwise(times))


async def test_health_changes_end_with_the_session(join: Connect) -> None:
    seen: list[Health] = []

    async def watch(client: Client) -> None:
        seen.extend([health async for health in client.health_changes()])

    async with trio.open_nursery() as nursery, join() as client:
        nursery.start_soon(watch, client)
        await client.wait_until(ClientState.LIVE)
        await trio.sleep(1)
    assert [health.status for health in seen][-1] is Status.DISCONNECTED


async def test_waiting_for_a_condition(join: Connect, server: Server) -> None:
    async with join() as client:
        await client.wait_until(lambda client: "ada" in client.active_users)
        assert "position 0" in repr(client)
        assert client.run_id in repr(client)


async def test_a_tap_sees_everything_in_order(join: Connect, server: Server) -> None:
    seen: list[tuple[int, object]] = []
    async with join(tap=lambda now, what: seen.append((now, what))) as client:
        await client.publish("CHAT", {})
    kinds = [type(what) for _, what in seen]
    assert kinds[:2] == [Open, StateChanged]
    assert PublishAccepted in kinds
    sent = [what.frame for _, what in seen if isinstance(what, Send)]
    received = [what.frame for _, what in seen if isinstance(what, ReceivedFrame)]
    assert isinstance(sent[0], frames.Hello)
    assert isinstance(sent[-1], frames.Bye)
    assert isinstance(received[0], frames.Welcome)
    assert [now for now, _ in seen] == sorted(now for now, _ in seen)


async def test_what_the_block_raises_comes_out_as_it_is(join: Connect, server: Server) -> None:
    async def fail() -> None:
        async with join() as client:
            await client.wait_until(ClientState.LIVE)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    await trio.testing.wait_all_tasks_blocked()
    assert server.run.active_users == (), "it said bye all the same"


class ThinUplink(PassingStream):
    """A stream that takes nothing while it is `full`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.has_room = trio.Event()
        self.has_room.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.has_room.wait()
        await super().send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.has_room.wait()


async def test_acknowledgements_that_cannot_be_sent_do_not_pile_up(join: Connect, server: Server) -> None:
    """The newest replaces the one that waits (4.5), so a full uplink costs one frame, however many events come."""
    uplinks: list[ThinUplink] = []

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        uplinks.append(ThinUplink(await server.open_stream(host, port, tls)))
        return uplinks[-1]

    config = ClientConfig(ack_events=1, ping_interval_s=100)
    async with join(open_stream=open_stream, config=config) as client:
        await client.wait_until(ClientState.LIVE)
        uplinks[0].has_room = trio.Event()
        for number in range(1, OUTGOING_FRAMES_MAX + 50):
            await server.publish(1)  # each in a frame of its own, which is acknowledged by itself
            async for event in client.events():
                if event.sequence_number == number:
                    break
        uplinks[0].has_room.set()
        assert await client.publish("CHAT", {}) == OUTGOING_FRAMES_MAX + 50
        assert len(uplinks) == 1


async def test_publishes_that_cannot_be_sent_do_not_pile_up(join: Connect, nursery: trio.Nursery) -> None:
    """A busy server puts the first one off again and again, and behind a full uplink all the others wait once more each time."""

    async def talk(websocket: trio_websocket.WebSocketConnection) -> None:
        await websocket.get_message()
        await websocket.send_message(welcome())
        await websocket.send_message(frames.encode(frames.SnapshotFrame(0, RunState())).decode())
        busy = frames.Rejected(client_sequence=1, code="overloaded", message="", retryable=True)
        while True:
            await trio.sleep(3)
            await websocket.send_message(frames.encode(busy).decode())

    server = Scripted(nursery, websocket(talk))
    uplinks: list[ThinUplink] = []

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        uplinks.append(ThinUplink(await server.open_stream(host, port, tls)))
        return uplinks[-1]

    async def publish() -> None:
        async with join(open_stream=open_stream, config=ClientConfig(retry_limit=1000), drain_s=0) as client:
            await client.wait_until(ClientState.PROVING)
            uplinks[0].has_room = trio.Event()
            for number in range(64):
                client.publish_soon("CHAT", {"n": number})
            await client.wait_until(lambda client: len(uplinks) == 2 and client.state is ClientState.PROVING)

    with pytest.raises(UndeliveredError, match="64 publishes were not accepted"):
        await publish()
