"""The brief, testing recommendation 3, Late Joiners: "Join collaboration mid-session to verify replay"."""

from trio.testing import MockClock

from reference.protocol.config import ServerConfig

from .room import RUN, numbers, open_room, snapshot


async def test_late_joiners(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=100, snapshot_interval_events=50, appends_pending_max=100)
    async with open_room(protocol=config) as room, room.client("ada") as ada:
        for number in range(1, 71):
            await ada.publish("GRAFT", {"position": f"step-{number % 7}", "by": number})
        # From the newest snapshot: what it covers is in it, what follows comes one by one, and then what is new.
        async with room.client("bob") as bob:
            first = await snapshot(bob)
            assert first.snapshot.sequence_number == 50
            assert {key: graft["by"] for key, graft in first.snapshot.state.grafts.items()} == {
                f"step-{number % 7}": number for number in range(44, 51)
            }
            assert await numbers(bob, 20) == list(range(51, 71))
            await ada.publish("CHAT", {"text": "welcome"})
            assert await numbers(bob, 1) == [71]
        # Or everything that is kept, from the first event on.
        async with room.client("carol", start="oldest") as carol:
            assert await numbers(carol, 71) == list(range(1, 72))
        # And over HTTP, as the brief has it: all critical events.
        replayed = await room.json("GET", f"/api/runs/{RUN}/collaboration/replay")
        assert [event["sequenceNumber"] for event in replayed["events"]] == list(range(1, 71))
        assert (replayed["totalEvents"], replayed["hasMore"]) == (70, False)
