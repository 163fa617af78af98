"""A naive server, as a first attempt would be. It uses our frames, and has the usual faults.

It numbers publishes and broadcasts them at once; a background job stores them a little later. A client that reconnects joins
the room first, and a second job sends the events that it has missed. A retry is treated as a new message.
"""

import json
from typing import Any


class NaiveServer:
    """A `simulation.testing.ServerUnderTest`."""

    def __init__(self) -> None:
        self._stored: list[dict[str, Any]] = []
        self._log: list[dict[str, Any]] = []
        self._users: dict[int, str] = {}
        self._room: list[int] = []
        self._replays: list[tuple[int, int]] = []
        self._waiting: dict[int, list[str]] = {}

    def open(self, connection: int, user: str) -> None:
        self._users[connection] = user
        self._waiting[connection] = []

    def is_open(self, connection: int) -> bool:
        return connection in self._users

    def receive(self, connection: int) -> list[str]:
        texts, self._waiting[connection] = self._waiting.get(connection, []), []
        return texts

    def cut(self, connection: int) -> None:
        self._users.pop(connection, None)
        self._room = [member for member in self._room if member != connection]

    def send(self, connection: int, text: str) -> None:
        frame = json.loads(text)
        match frame["type"]:
            case "hello":
                self._welcome(connection, frame.get("afterSequence", 0))
            case "publish":
                self._publish(connection, frame)
            case "ping":
                self._say(connection, type="pong", nonce=frame["nonce"], serverTime=0)
            case _:
                pass

    def advance(self, seconds: float) -> None:
        self._stored = list(self._log)  # the job that writes
        for connection, after in self._replays:  # the job that replays
            missed = self._log[after:]
            if missed and connection in self._users:
                self._say(connection, type="events", events=missed)
        self._replays.clear()

    def crash(self) -> None:
        self._users.clear()
        self._room.clear()
        self._replays.clear()
        self._log = list(self._stored)

    def restart(self) -> None:
        pass

    def _welcome(self, connection: int, after: int) -> None:
        limits = {"frameBytesMax": 65536, "unansweredMax": 64, "publishesPerS": 200}
        self._say(
            connection,
            type="welcome",
            sessionId=f"s{connection}",
            epoch="the-only-one",
            outcome="resumed" if after else "fresh",
            oldest=1,
            head=len(self._log),
            afterSequence=after,
            lastClientSequence=0,
            heartbeatMs=15000,
            limits=limits,
            retry={"firstSpreadMs": 0},
            activeUsers=[],
            cursorPositions={},
            serverTime=0,
        )
        self._room.append(connection)
        self._replays.append((connection, after))

    def _publish(self, connection: int, frame: dict[str, Any]) -> None:
        event = {
            "eventType": frame["eventType"],
            "userId": self._users[connection],
            "timestamp": 0,
            "sequenceNumber": len(self._log) + 1,
            "data": frame["data"],
            "isCritical": False,
        }
        self._log.append(event)
        for member in self._room:
            self._say(member, type="events", events=[event])
        self._say(connection, type="accepted", clientSequence=frame["clientSequence"], sequenceNumber=len(self._log))

    def _say(self, connection: int, **frame: Any) -> None:
        self._waiting[connection].append(json.dumps(frame))
