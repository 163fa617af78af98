"""A room server on `websockets`: broadcast, or with `sqlite FILE` one commit for each event before it is shown.

python -m tests.benchmarks.peers.websockets_server PORT [sqlite FILE]
"""

import asyncio
import json
import sqlite3
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

KEPT = 10_000


class Room:
    """Its members, and the events that are kept."""

    def __init__(self, store: sqlite3.Connection | None) -> None:
        self.members: set[ServerConnection] = set()
        self.events: list[str] = []
        self.sequence = 0
        self._store = store

    def publish(self, data: object) -> None:
        self.sequence += 1
        text = json.dumps({"t": "ev", "seq": self.sequence, "d": data}, separators=(",", ":"))
        if self._store is not None:
            with self._store:
                self._store.execute("INSERT INTO events VALUES (?, ?)", (self.sequence, text))
        self.events.append(text)
        del self.events[:-KEPT]
        broadcast(self.members, text)


async def main(port: int, path: str | None) -> None:
    store = None
    if path is not None:
        store = sqlite3.connect(path)
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA synchronous = FULL")
        store.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, event TEXT)")
    rooms: dict[str, Room] = {}

    async def handle(connection: ServerConnection) -> None:
        room: Room | None = None
        try:
            async for message in connection:
                said = json.loads(message)
                if said["room"] not in rooms:
                    rooms[said["room"]] = Room(store)
                room = rooms[said["room"]]
                if said["t"] == "pub":
                    room.publish(said["d"])
                    continue
                await connection.send('{"t":"joined"}')
                if said["since"] is not None:
                    for event in room.events[len(room.events) - (room.sequence - said["since"]) :]:
                        await connection.send(event)
                room.members.add(connection)
        except ConnectionClosed:
            pass
        finally:
            if room is not None:
                room.members.discard(connection)

    async with serve(handle, "127.0.0.1", port, backlog=4096, compression=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else None))
