"""Cases for a client: events, gaps, snapshots, resets, presence, and frames that a server must not send."""

import trio

from simulation.conformance.cases import NotApplicable, Registry, require
from simulation.conformance.client_bench import ClientBench
from simulation.conformance.client_connection import ClientConnection
from simulation.conformance.client_model import SLACK_S, START_S_MAX
from simulation.conformance.frames import Frame

registry: Registry[ClientBench] = Registry()
case = registry.case


@case("events.order", "7.12 4.11 7.18 4.5")
async def order(bench: ClientBench) -> None:
    """Events are handed over in order, in frames of any size, and acknowledged within ack_interval_s"""
    connection = await bench.first()
    for size in (1, 3, 200, 1):
        await connection.events([bench.log.append(data={"n": number}) for number in range(size)])
    delivered = await bench.delivered_up_to(205)
    require(delivered == list(range(1, 206)), "7.12", f"the application was given {len(delivered)} of 205 events")
    same = [event["data"] for event in bench.all_of("event") if event["sequenceNumber"]] == [e["data"] for e in bench.log.events]
    require(same, "7.12", "the data of an event was changed on the way to the application")
    within_s = bench.settings["ack_interval_s"] + SLACK_S
    await connection.expect("ack", "7.18", within_s, lambda frame: frame["sequenceNumber"] == 205)
    await trio.sleep(bench.settings["ack_interval_s"] + 0.5)  # an ack beyond the last event would be a failure


@case("events.twice", "7.12 4.11")
async def twice(bench: ClientBench) -> None:
    """Events at or below the position are dropped"""
    connection = await bench.first()
    events = [bench.log.append() for _ in range(4)]
    await connection.events(events[:3])
    await connection.send("events", events=events[1:3])
    await connection.send("events", events=events[1:4])
    connection.note_sent(events[3:])
    await connection.append()
    delivered = await bench.delivered_up_to(5)
    require(delivered == [1, 2, 3, 4, 5], "7.12", f"the application was given the events {delivered}")


@case("events.gap", "7.12 6.1 6.4")
async def gap(bench: ClientBench) -> None:
    """A number that is left out makes the client leave with 4001, and resume from its position"""
    connection = await bench.first()
    events = [bench.log.append() for _ in range(5)]
    await connection.events(events[:2])
    await bench.delivered_up_to(2)
    bench.memory.known_up_to = 2
    await connection.send("events", events=events[3:])
    await connection.left("7.12", 5.0, (4001, None))
    connection = await bench.again(connection, "7.12")
    after = connection.hello["afterSequence"]
    require(after == 2, "7.12", f"the client resumed after {after}; event 3 never came")
    delivered = await bench.delivered_up_to(5)
    require(delivered == [1, 2, 3, 4, 5], "7.12", f"the application was given the events {delivered}")


@case("events.lost_tail", "7.13 4.16", is_slow=True)
async def lost_tail(bench: ClientBench) -> None:
    """A heartbeat with a head above the position: the client leaves within tail_timeout_s, and resumes"""
    connection = await bench.first()
    await connection.append()
    await bench.delivered_up_to(1)
    bench.log.append()
    await connection.send("heartbeat", head=2)
    await connection.left("7.13", bench.settings["tail_timeout_s"] + SLACK_S, (4001, None))
    await bench.again(connection, "7.13")
    await bench.delivered_up_to(2)


@case("events.lost_after_welcome", "7.13 4.9", is_slow=True)
async def lost_after_welcome(bench: ClientBench) -> None:
    """A welcome with a head above the position, and no events: the client leaves and resumes"""
    connection = await (await bench.upgrade("3.1", START_S_MAX)).greeted()
    await connection.welcome("fresh", afterSequence=0, head=3)
    await connection.left("7.13", bench.settings["tail_timeout_s"] + SLACK_S, (4001, None))
    for _ in range(3):
        bench.log.append()
    await bench.again(connection, "7.13")
    delivered = await bench.delivered_up_to(3)
    require(delivered == [1, 2, 3], "7.12", f"the application was given the events {delivered}")


@case("events.heartbeat_in_time", "4.16 7.13")
async def heartbeat(bench: ClientBench) -> None:
    """Heartbeats with the head that the client has change nothing"""
    connection = await bench.first()
    await connection.append()
    await connection.send("heartbeat", head=1)
    await bench.delivered_up_to(1)
    await bench.nothing(bench.settings["tail_timeout_s"] + 1.0, "4.16", "although nothing was missing")
    require(connection.ended is None, "4.16", "the client left although nothing was missing")


@case("events.large_frame", "3.2 9.4")
async def large_frame(bench: ClientBench) -> None:
    """A frame of some MiB is taken; a client takes up to 8 MiB"""
    connection = await bench.first()
    await connection.events([bench.log.append(data={"text": "x" * 60_000}) for _ in range(120)])
    await bench.delivered_up_to(120, "3.2", 15.0)


@case("snapshot.first", "7.14 7.15 4.10 7.16 8.13")
async def snapshot_first(bench: ClientBench) -> None:
    """The first snapshot reaches the application, with the state, before the events that follow it"""
    for number in range(4):
        bench.log.append("GRAFT", {"position": f"p{number % 2}", "n": number})
    connection = await (await bench.upgrade("3.1", START_S_MAX)).greeted()
    if connection.hello.get("start", "snapshot") != "snapshot":
        raise NotApplicable("this client does not ask for a snapshot (8.13)")
    await connection.welcome("fresh", afterSequence=3)
    snapshot = await bench.report("snapshot", "7.15")
    require(snapshot["sequenceNumber"] == 3, "7.15", f"the snapshot was at 3, the application got {snapshot['sequenceNumber']}")
    grafts = snapshot["state"].get("grafts")
    require(grafts == bench.log.state(3)["grafts"], "7.15", f"the application was given the grafts {grafts}")
    delivered = await bench.delivered_up_to(4)
    require(delivered == [4], "7.15", f"after snapshot 3 the application was given the events {delivered}")


async def _away(bench: ClientBench) -> ClientConnection:
    """A client that has been given two events, and comes back; its hello has been read."""
    connection = await bench.first()
    await connection.append()
    await connection.append()
    await bench.delivered_up_to(2)
    bench.memory.known_up_to = 2
    await connection.cut()
    return await (await bench.upgrade("7.22", bench.latest_s(1))).greeted()


@case("snapshot.expired", "7.15 7.14 8.15")
async def expired(bench: ClientBench) -> None:
    """The outcome snapshot moves the position forward, and the application is notified"""
    connection = await _away(bench)
    for number in range(6):
        bench.log.append("FLAG", {"n": number})
    await connection.welcome("snapshot", reason="expired", afterSequence=6)
    snapshot = await bench.report("snapshot", "7.15", where=lambda content: content["sequenceNumber"] > 0)
    require(snapshot["sequenceNumber"] == 6, "7.15", f"the snapshot was at 6, the application got {snapshot['sequenceNumber']}")
    delivered = await bench.delivered_up_to(8)
    require(delivered == [1, 2, 7, 8], "7.15", f"the application was given the events {delivered}")
    bench.memory.known_up_to = 8
    await connection.cut()
    await bench.again(connection, "7.15", failures=2)


@case("reset.epoch", "7.15 7.14 8.15 4.2")
async def reset_epoch(bench: ClientBench) -> None:
    """A reset moves the client into the other epoch, and the application is notified that the history is lost"""
    connection = await _away(bench)
    bench.log.lose_history(1)
    await connection.welcome()
    bench.memory.known_up_to = 0
    reset = await bench.report("reset", "7.15")
    require(reset["sequenceNumber"] == 1, "7.15", f"the snapshot was at 1, the application got {reset['sequenceNumber']}")
    await connection.append()
    await bench.report("event", "7.15", where=lambda event: event["sequenceNumber"] == 2)
    await connection.cut()
    await bench.again(connection, "7.15", failures=2)


@case("reset.ahead", "7.15 7.14")
async def reset_ahead(bench: ClientBench) -> None:
    """A reset with the reason ahead moves the position back in the same epoch"""
    connection = await _away(bench)
    del bench.log.events[1:]
    bench.memory.known_up_to = bench.memory.sent_up_to = 0
    await connection.welcome("reset", reason="ahead", afterSequence=1)
    await bench.report("reset", "7.15")
    await connection.append("FLAG")
    await bench.report("event", "7.15", where=lambda event: event["sequenceNumber"] == 2 and event["eventType"] == "FLAG")
    await connection.cut()
    await bench.again(connection, "7.15", failures=2)


@case("bad_frames.no_frames", "3.3 3.2 4.1 3.9 6.4 4.11", is_slow=True)
async def no_frames(bench: ClientBench) -> None:
    """Malformed messages and frames make the client leave with 4400, and resume"""
    connection = await bench.first()
    event = bench.log.append()
    messages = (
        '{"type": "shout"}',
        '{"type": "heartbeat"}',
        "events",
    )
    for failures, message in enumerate(messages, 1):
        await connection.send_raw(message)
        await connection.left("3.3", 5.0, (4400, None))
        connection = await bench.again(connection, "6.4", failures=failures)
    await bench.delivered_up_to(event["sequenceNumber"])


@case("bad_frames.events", "4.11 7.14 6.4", is_slow=True)
async def bad_events(bench: ClientBench) -> None:
    """Events with a gap in the frame, without a number, and a snapshot that was not announced are bad frames"""
    connection = await bench.first()
    events = [bench.log.append() for _ in range(3)]
    await connection.send("events", events=[events[0], events[2]])
    await connection.left("4.11", 5.0, (4400, None))
    connection = await bench.again(connection, "6.4", failures=1)
    await bench.delivered_up_to(3)
    bench.memory.known_up_to = 3
    await connection.send("events", events=[events[2] | {"sequenceNumber": None}])
    await connection.left("4.11", 5.0, (4400, None))
    connection = await bench.again(connection, "6.4", failures=2)
    await connection.send("snapshot", sequenceNumber=9, state={})
    await connection.left("7.14", 5.0, (4400, None))
    connection = await bench.again(connection, "6.4", failures=3)
    delivered = await bench.delivered_up_to(3)
    require(delivered == [1, 2, 3], "7.12", f"the application was given the events {delivered}")


@case("bad_frames.no_snapshot", "7.14 3.8")
async def no_snapshot(bench: ClientBench) -> None:
    """Events instead of the snapshot that welcome announced are a bad frame, and are not handed over"""
    connection = await _away(bench)
    bench.log.append()
    bench.log.append()
    place: Frame = {"sessionId": bench.memory.session_id, "epoch": bench.log.epoch, "outcome": "snapshot", "reason": "expired",
             "oldest": 4, "head": 4, "afterSequence": 3, "lastClientSequence": 0, "heartbeatMs": 15_000,
             "limits": connection.limits, "retry": {"firstSpreadMs": 200}, "activeUsers": [], "cursorPositions": {},
             "serverTime": 0}  # fmt: skip
    connection.is_welcomed = True
    await connection.send("welcome", **place)
    await connection.send("events", events=bench.log.after(3))
    await connection.left("7.14", 5.0, (4400, None))
    await bench.again(connection, "6.4", failures=2)
    delivered = await bench.delivered_up_to(4)
    require(delivered == [1, 2, 3, 4], "7.14", f"the application was given the events {delivered}")


@case("presence.events", "7.35 4.12 4.13")
async def presence(bench: ClientBench) -> None:
    """The client makes USER_JOIN, USER_LEAVE and CURSOR_MOVE events without a number from presence and cursors"""
    connection = await bench.first()
    await connection.send("presence", joined=["ada"], serverTime=1)
    joined = await bench.report(
        "event", "7.35", where=lambda event: event["eventType"] == "USER_JOIN" and event["userId"] == "ada"
    )
    require(joined["sequenceNumber"] is None, "7.35", f"USER_JOIN has the number {joined['sequenceNumber']}")
    await connection.send("cursors", moved={"ada": {"line": 3}}, serverTime=2)
    moved = await bench.report("event", "7.35", where=lambda event: event["eventType"] == "CURSOR_MOVE")
    require(moved["data"].get("line") == 3, "7.35", f"CURSOR_MOVE has the data {moved['data']}")
    await connection.send("presence", joined=["ada"], serverTime=3)
    await connection.send("presence", full=["kit-user"], serverTime=4)
    left = await bench.report("event", "7.35", where=lambda event: event["eventType"] == "USER_LEAVE")
    require(left["userId"] == "ada", "7.35", f"USER_LEAVE of {left['userId']}")
    joins = [event for event in bench.all_of("event") if event["eventType"] == "USER_JOIN" and event["userId"] == "ada"]
    require(len(joins) == 1, "7.35", f"ada was reported to join {len(joins)} times")


@case("left.is_ignored", "3.11 6.4")
async def left_is_ignored(bench: ClientBench) -> None:
    """Frames that arrive on a connection after the client has left it are ignored"""
    connection = await bench.first()
    events = [bench.log.append() for _ in range(3)]
    await connection.send("events", events=events[1:])
    await connection.send("events", events=events[:1])
    await connection.left("7.12", 5.0, (4001, None))
    again = await bench.again(connection, "7.12")
    require(again.hello.get("afterSequence") in (0, None), "3.11", f"hello says after {again.hello.get('afterSequence')}")
    delivered = await bench.delivered_up_to(3)
    require(delivered == [1, 2, 3], "3.11", f"the application was given the events {delivered}")
