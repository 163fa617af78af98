"""A real server process that is killed under load and restarted: nothing accepted is lost or stored twice."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio_websocket

from .processes import serving
from .running_server import RUN, FrameClient, Message, frame_client_on, request_bytes
from .wire.helpers import Answer, read_answer

PUBLISHERS = 4
KILLS = 2
ACCEPTED_BETWEEN_KILLS = 50


@dataclass
class Publisher:
    """Numbers its publishes, and sends again, on a new connection, whatever has no answer."""

    name: str
    accepted: dict[int, int] = field(default_factory=dict)
    """The sequence number of each of its publishes that was accepted."""
    seen: list[int] = field(default_factory=list)
    """The sequence numbers of the events that it was shown."""
    generation: int = 0

    async def converse(self, client: FrameClient, enough: trio.Event, wanted: int) -> None:
        self.generation += 1
        welcome = await client.hello(self.name, generation=self.generation, **self.position(client))
        self.epoch = welcome["epoch"]
        self.seen = self.seen if welcome["outcome"] == "resumed" or not self.seen else []
        sent = len(self.accepted)
        while True:
            while sent < len(self.accepted) + 16:
                sent += 1
                await client.send("publish", clientSequence=sent, eventType="CHAT", data={"by": f"{self.name}/{sent}"})
            frame = await client.next()
            if frame["type"] == "events":
                self.seen += [event["sequenceNumber"] for event in frame["events"]]
            elif frame["type"] == "accepted":
                self.accepted[frame["clientSequence"]] = frame["sequenceNumber"]
                if len(self.accepted) >= wanted:
                    enough.set()
            elif frame["type"] == "rejected":
                assert frame["retryable"], frame
                sent = len(self.accepted)

    def position(self, client: FrameClient) -> Message:
        return {"epoch": self.epoch, "afterSequence": self.seen[-1]} if self.seen else {"start": "oldest"}

    epoch: str = ""


@pytest.mark.slow
async def test_nothing_accepted_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    store = tmp_path / "events.sqlite3"
    publishers = [Publisher(f"p{index}") for index in range(PUBLISHERS)]
    port = 0
    for life in range(KILLS + 1):
        with serving("--store", str(store), port=port) as server:
            port = int(server.url.rpartition(":")[2])
            if life == 0:
                assert (await ask(port, "PUT", f"/api/runs/{RUN}")).status == 201
            enough = trio.Event()
            async with trio.open_nursery() as nursery:
                for publisher in publishers:
                    nursery.start_soon(attend, port, publisher, enough, (life + 1) * ACCEPTED_BETWEEN_KILLS)
                await enough.wait()
                if life < KILLS:
                    server.process.kill()
                nursery.cancel_scope.cancel()
            if life == KILLS:
                events = await replay(port)
                assert server.stop() == 0
    stored = Counter(event["data"]["by"] for event in events)
    assert [event["sequenceNumber"] for event in events] == list(range(1, len(events) + 1))
    assert set(stored.values()) == {1}
    number_of = {event["data"]["by"]: event["sequenceNumber"] for event in events}
    for publisher in publishers:
        assert {number: number_of[f"{publisher.name}/{number}"] for number in publisher.accepted} == publisher.accepted
        assert publisher.seen == list(range(1, len(publisher.seen) + 1))
        own = [number_of[f"{publisher.name}/{number}"] for number in sorted(publisher.accepted)]
        assert own == sorted(own)


async def attend(port: int, publisher: Publisher, enough: trio.Event, wanted: int) -> None:
    """Be connected until the server dies."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with frame_client_on(stream) as client:
            await publisher.converse(client, enough, wanted)
    except* (trio_websocket.ConnectionClosed, trio_websocket.HandshakeError, OSError):
        pass


async def ask(port: int, method: str, path: str) -> Answer:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request_bytes(method, path, token="dev:alice"))
        return await read_answer(stream)


async def replay(port: int) -> list[Message]:
    events: list[Message] = []
    has_more = True
    while has_more:
        path = f"/api/runs/{RUN}/collaboration/replay?fromSequence={len(events) + 1}"
        page = json.loads((await ask(port, "GET", path)).body)
        events += page["events"]
        has_more = page["hasMore"]
    return events
