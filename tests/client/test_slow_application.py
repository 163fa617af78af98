"""An application that reads slowly, or not at all, while others publish."""

import pytest
import trio

from reference.protocol.client.health import Status
from reference.protocol.client.outcomes import ResetReceived, SnapshotReceived
from reference.protocol.config import ServerConfig
from reference.protocol.events import Event
from reference.protocol.server.connection import Identity
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import Server, numbers_until

WAITING_MAX = 20


@pytest.mark.parametrize("pause_s", [0.01, 0.5])
async def test_a_steady_reader_is_served_at_its_own_pace(join: Connect, server: Server, pause_s: float) -> None:
    """TCP slows the server down; no connection is lost over it."""
    async with join(outcomes_waiting_max=WAITING_MAX) as client:
        await client.wait_until(ClientState.LIVE)
        await server.publish(300)
        assert await numbers_until(client, 300, pause_s=pause_s) == list(range(1, 301))
        assert client.health.reconnections == 0
        assert len(server.wires) == 1


async def test_an_application_that_does_not_read_keeps_its_connection(join: Connect, server: Server) -> None:
    async with join(outcomes_waiting_max=WAITING_MAX) as client:
        await client.wait_until(ClientState.LIVE)
        await server.publish(300)
        for _ in range(120):
            await trio.sleep(1)
            assert client.health.status is Status.CONNECTED
            assert client.position[1] == WAITING_MAX - 1, "one is the snapshot; what is not taken is not counted as received"
        assert client.health.round_trip.samples >= 12, "pings are answered all the time"
        assert await client.publish("CHAT", {}) == 301
        assert len(client._mailbox) <= WAITING_MAX + 1, "and one USER_JOIN"

        assert await numbers_until(client, 301) == list(range(1, 302))
        assert client.health.reconnections >= 1, "what was left is fetched by a resume"


async def test_publishing_inside_of_the_reading_loop_cannot_lock_itself_out(join: Connect, server: Server) -> None:
    echoed = 0
    async with join(outcomes_waiting_max=WAITING_MAX) as client:
        await client.wait_until(ClientState.LIVE)
        await server.publish(200)
        async for event in client.events():
            if event.user_id == "bob" and event.sequence_number is not None:
                await client.publish("CHAT", {"echo": event.data["n"]})
                echoed += 1
                if echoed == 200:
                    break
    assert server.run.head == 400


async def test_a_reader_left_too_far_behind_gets_a_snapshot(join: Connect, nursery: trio.Nursery) -> None:
    config = ServerConfig(
        events_kept_max=100,
        snapshot_interval_events=50,
        appends_pending_max=100,
        publishes_per_s=1e6,
        publish_burst=10_000,
        frames_per_s=1e7,
        frame_burst=100_000,
    )
    server = Server(nursery, config)
    async with join(outcomes_waiting_max=WAITING_MAX, open_stream=server.open_stream) as client:
        await client.wait_until(ClientState.LIVE)
        await server.publish(1000)
        await trio.sleep(5)
        last, snapshots = 0, 0
        while last < 1000:
            outcome = await anext(client)
            if isinstance(outcome, SnapshotReceived | ResetReceived):
                snapshots += last > 0
                last = outcome.snapshot.sequence_number
            elif isinstance(outcome, Event) and outcome.sequence_number is not None:
                assert outcome.sequence_number == last + 1, "what is skipped is skipped with a snapshot"
                last += 1
        assert snapshots == 1


async def test_a_slow_reader_behind_polling(join: Connect, server: Server) -> None:
    server.refuse = lambda target: (403, {}, b"") if target.startswith("/ws/") else None
    async with join(outcomes_waiting_max=WAITING_MAX) as client:
        await client.wait_until(ClientState.POLLING)
        await server.publish(600)
        await trio.sleep(60)
        polls = len(server.requests)
        assert polls < 60, "it does not ask for more at once while nothing is taken"
        assert await client.publish("CHAT", {}) == 601
        assert await numbers_until(client, 601) == list(range(1, 602))
        assert client.health.status is Status.HTTP_POLLING


async def test_a_connection_that_is_lost_while_nothing_is_read(join: Connect, server: Server) -> None:
    async with join(outcomes_waiting_max=WAITING_MAX) as client:
        await client.wait_until(ClientState.LIVE)
        await server.publish(300)
        await trio.sleep(5)
        for _ in range(3):
            server.wires[-1].cut()
            await client.wait_until(ClientState.WAITING)
            await client.wait_until(ClientState.LIVE)
            await trio.sleep(30)
            assert client.state is ClientState.LIVE
        assert len(server.wires) == 4
        assert await numbers_until(client, 300) == list(range(1, 301))


async def test_leaving_with_a_full_mailbox(join: Connect, server: Server) -> None:
    async with join(outcomes_waiting_max=WAITING_MAX) as client:
        await client.wait_until(ClientState.LIVE)
        await server.publish(300)
        before = trio.current_time()
    assert trio.current_time() - before < 0.1


async def test_presence_and_cursors_wait_as_latest_values(join: Connect, server: Server) -> None:
    async with join() as client, join(client_id="other") as other:
        await client.wait_until(ClientState.LIVE)
        for x in range(100):
            other.move_cursor({"x": x})
            await trio.sleep(0.2)
        waiting = [delivery for delivery in client._mailbox._waiting.values() if isinstance(delivery, Event)]
        assert [event.data for event in waiting if event.event_type == "CURSOR_MOVE"] == [{"x": 99}]


async def test_a_reader_that_is_late_learns_that_a_user_has_left_and_returned(join: Connect, server: Server) -> None:
    """8.30. Of each user at most a leave, a join and a cursor wait; else it would show the cursor from before."""
    async with join() as client:
        await client.wait_until(ClientState.LIVE)
        server.tokens["bob"] = Identity("bob")
        for life in range(5):
            async with join(client_id=f"bob-{life}", token="bob") as bob:
                await bob.wait_until(ClientState.LIVE)
                if life < 4:
                    bob.move_cursor({"x": life})
                await trio.sleep(1)
        await trio.sleep(1)
        waiting = [delivery for delivery in client._mailbox._waiting.values() if isinstance(delivery, Event)]
        assert [event.event_type for event in waiting if event.user_id == "bob"] == ["USER_LEAVE"]
        async with join(client_id="bob", token="bob") as bob:
            await bob.wait_until(ClientState.LIVE)
            await trio.sleep(1)
            waiting = [delivery for delivery in client._mailbox._waiting.values() if isinstance(delivery, Event)]
            assert [event.event_type for event in waiting if event.user_id == "bob"] == ["USER_LEAVE", "USER_JOIN"]
