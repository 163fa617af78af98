"""The brief, testing recommendation 4, Message Persistence: "Create grafts/prunes/flags, verify they persist across
reconnections", and across the life of a server."""

from pathlib import Path

from reference.protocol.config import ServerConfig
from reference.store import open_store

from .room import RUN, events, open_room, snapshot

MADE = [
    ("GRAFT", {"position": "step-1", "agent": "reviewer"}),
    ("PRUNE", {"step": "step-2"}),
    ("FLAG", {"note": "look"}),
    ("GRAFT", {"position": "step-1", "agent": "writer"}),
    ("CHAT", {"text": "not critical, and kept all the same"}),
]


async def test_message_persistence(tmp_path: Path) -> None:
    # In real time, since a database does not know of any other; so nobody waits before coming back.
    at_once = ServerConfig(first_spread_s=0, snapshot_interval_events=4)
    url = f"sqlite:///{tmp_path}/events.sqlite3"
    async with open_store(url) as store, open_room(store, protocol=at_once) as room:
        line = room.line()
        async with room.client("ada", line) as ada:
            for kind, data in MADE[:3]:
                await ada.publish(kind, data)
            line.cut()
            await ada.wait_until(lambda client: not client.is_carried)
            line.is_up = True
            for kind, data in MADE[3:]:
                await ada.publish(kind, data)
    # The server has ended; another one begins from what is stored.
    async with open_store(url) as store, open_room(store, protocol=at_once) as room:
        async with room.client("bob", start="oldest") as bob:
            assert [(event.event_type, event.data) for event in await events(bob, len(MADE))] == MADE
        async with room.client("carol") as carol:
            first = await snapshot(carol)
            assert first.snapshot.sequence_number == 4
            assert first.snapshot.state.grafts == {"step-1": {"position": "step-1", "agent": "writer"}}
            assert (first.snapshot.state.prunes, first.snapshot.state.flags) == (("step-2",), ({"note": "look"},))
        history = await room.json("GET", f"/api/runs/{RUN}/collaboration/events?criticalOnly=true")
        assert [event["eventType"] for event in history["events"]] == ["GRAFT", "PRUNE", "FLAG", "GRAFT"]
        assert [event["sequenceNumber"] for event in history["events"]] == [1, 2, 3, 4]
        assert history["head"] == 5
