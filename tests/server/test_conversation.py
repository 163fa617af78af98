"""Conversations over WebSocket, in virtual time: two clients, a resume, a late joiner, a takeover, and the clock."""

import gc

import h11
import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig
from reference.server.wire.request_head import RequestHead
from reference.server.wire.websocket import Read

from .running_server import ORIGIN_NS, RUN, Message, running_server


async def test_what_one_publishes_both_hear(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice, running.join("bob") as bob:
        accepted = await alice.publish(1, "hi")
        assert accepted == {"type": "accepted", "clientSequence": 1, "sequenceNumber": 1}
        for client in (alice, bob):
            (event,) = await client.events(1)
            assert event == {
                "eventType": "CHAT",
                "userId": "alice",
                "timestamp": ORIGIN_NS // 1_000_000,
                "sequenceNumber": 1,
                "data": {"text": "hi"},
                "isCritical": False,
            }


async def test_welcome_says_where_the_reader_stands(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        await alice.publish(1)
        async with running.connect() as client:
            welcome = await client.hello("bob")
            assert welcome["outcome"] == "fresh"
            assert (welcome["head"], welcome["afterSequence"]) == (1, 0)
            assert welcome["activeUsers"] == ["alice", "bob"]
            assert welcome["serverTime"] == ORIGIN_NS // 1_000_000
            assert (await client.next())["type"] == "snapshot"
            assert await client.events(1)


async def test_a_resume_brings_exactly_what_was_missed(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        async with running.connect() as client:
            welcome = await client.hello("bob")
            await alice.publish(1)
            await client.events(1)
        for number in (2, 3, 4):
            await alice.publish(number)
        async with running.connect() as client:
            session = {"sessionId": welcome["sessionId"], "epoch": welcome["epoch"], "afterSequence": 1, "generation": 2}
            again = await client.hello("bob", **session)
            assert (again["outcome"], again["sessionId"]) == ("resumed", welcome["sessionId"])
            await client.events(3)
            assert client.numbers_received() == [2, 3, 4]
            assert "snapshot" not in [frame["type"] for frame in client.received]
            await alice.publish(5)
            await client.events(4)
            assert client.numbers_received() == [2, 3, 4, 5]


async def test_a_late_joiner_gets_the_snapshot_and_what_follows(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=20, snapshot_interval_events=10, appends_pending_max=20)
    async with running_server(protocol=config) as running, running.join("alice") as alice:
        for number in range(1, 46):
            await alice.publish(number, eventType="GRAFT", data={"position": f"p{number % 7}", "n": number})
        async with running.join("bob") as bob:
            snapshot = await bob.receive("snapshot")
            assert snapshot["sequenceNumber"] == 40
            assert {data["n"] for data in snapshot["state"]["grafts"].values()} == set(range(34, 41))
            await bob.events(5)
            assert bob.numbers_received() == [41, 42, 43, 44, 45]


async def test_an_older_position_than_what_is_kept_gets_a_snapshot_and_says_so(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=20, snapshot_interval_events=10, appends_pending_max=20)
    async with running_server(protocol=config) as running, running.join("alice") as alice:
        welcome = alice.received[0]
        for number in range(1, 400):
            await alice.publish(number)
        async with running.connect() as client:
            again = await client.hello("bob", epoch=welcome["epoch"], afterSequence=3)
            assert (again["outcome"], again["reason"]) == ("snapshot", "expired")


async def test_the_newer_connection_takes_the_session_over(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as old:
        async with running.connect() as new:
            await new.hello("alice", generation=2)
            assert (await old.receive("error"))["code"] == 4101
            assert (await old.closed())[0] == 4101
            assert (await new.publish(1))["sequenceNumber"] == 1
        async with running.connect() as late:
            await late.send("hello", protocol=1, clientId="alice", token="dev:alice", generation=1)
            assert (await late.closed())[0] == 4101


async def test_a_repeated_publish_gets_the_first_answer_again(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        async with running.join("alice") as alice:
            first = await alice.publish(1, "once")
        async with running.join("alice", generation=2) as alice:
            again = await alice.publish(1, "once")
            assert again == first | {"duplicate": True}
            assert (await alice.publish(2))["sequenceNumber"] == 2


async def test_a_quiet_run_hears_heartbeats_on_time(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        await alice.publish(1)
        started = trio.current_time()
        for beat in (1, 2):
            assert (await alice.receive("heartbeat"))["head"] == 1
            assert abs(trio.current_time() - started - 15.0 * beat) < 0.01


async def test_a_silent_client_is_closed(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        started = trio.current_time()
        assert (await alice.closed())[0] == 4003
        assert abs(trio.current_time() - started - 35.0) < 0.01


async def test_who_never_says_hello_is_left(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.connect() as client:
        started = trio.current_time()
        assert (await client.closed())[0] == 4003
        assert abs(trio.current_time() - started - 10.0) < 0.01


async def test_presence_outlives_a_cut_and_ends_with_a_bye(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        await alice.until_present("alice")
        async with running.join("bob"):
            await alice.until_present("alice", "bob")
        cut_at = trio.current_time()
        await trio.sleep(20)
        await alice.send("ping", nonce=1)
        await alice.until_present("alice")
        assert trio.current_time() - cut_at >= 30.0
        async with running.join("carol") as carol:
            await alice.until_present("alice", "carol")
            await carol.send("bye")
            assert (await carol.closed())[0] == 1000
            left_at = trio.current_time()
            await alice.until_present("alice")
            assert trio.current_time() - left_at < 1.0


async def test_cursors_reach_the_others_as_latest_values(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice, running.join("bob") as bob:
        for x in range(50):
            await alice.send("cursor", data={"x": x})
        last: Message = {}
        while last != {"alice": {"x": 49}}:
            last = (await bob.receive("cursors"))["moved"]
        frames = [frame for frame in bob.received if frame["type"] == "cursors"]
        assert len(frames) < 5
        assert bob.numbers_received() == []


async def test_pong_comes_to_who_pinged_only_and_the_round_trip_is_counted(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice, running.join("bob") as bob:
        await alice.send("ping", nonce=7, roundTripMs=120.0)
        assert (await alice.receive("pong"))["nonce"] == 7
        await bob.send("ping", nonce=8)
        assert (await bob.receive("pong"))["nonce"] == 8
        text = (await running.ask("GET", "/metrics")).body.decode()
        assert 'latency_seconds_bucket{le="0.2"} 1.0' in text
        assert 'latency_seconds_bucket{le="0.1"} 0.0' in text


async def test_two_runs_do_not_hear_each_other(autojump_clock: MockClock) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    async with (
        running_server(runs=(RUN, other)) as running,
        running.join("alice") as alice,
        running.join("alice", other) as elsewhere,
    ):
        await alice.publish(1, "here")
        await elsewhere.publish(1, "there")
        assert [event["data"]["text"] for event in await alice.events(1)] == ["here"]
        assert [event["data"]["text"] for event in await elsewhere.events(1)] == ["there"]


async def test_a_run_id_in_capitals_is_the_same_run(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice", RUN.upper()) as alice, running.join("bob") as bob:
        await alice.publish(1)
        assert await bob.events(1)
        assert running.server.statistics().runs_loaded == 1


async def test_a_websocket_holds_nothing_of_how_it_began(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        await alice.publish(1)
        gc.collect()
        alive = gc.get_objects()
        assert not [each for each in alive if isinstance(each, h11.Connection) and each.our_role is h11.SERVER]
        assert not [each for each in alive if isinstance(each, RequestHead | Read)], "a head and a hello may hold tokens"
