"""A room server on python-socketio, over aiohttp.

python -m tests.benchmarks.peers.socketio_server PORT
"""

import sys
from typing import Any

import socketio
from aiohttp import web

KEPT = 10_000


def main(port: int) -> None:
    server = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"], cors_allowed_origins="*")
    events: dict[str, list[dict[str, Any]]] = {}

    async def join(sid: str, room: str, since: int | None = None) -> None:
        kept = events.setdefault(room, [])
        await server.emit("joined", room, to=sid)
        if since is not None:
            for event in [event for event in kept if event["seq"] > since]:
                await server.emit("ev", event, to=sid)
        await server.enter_room(sid, room)

    async def pub(sid: str, room: str, data: Any) -> None:
        kept = events.setdefault(room, [])
        event = {"seq": kept[-1]["seq"] + 1 if kept else 1, "d": data}
        kept.append(event)
        del kept[:-KEPT]
        await server.emit("ev", event, room=room)

    server.on("join", join)
    server.on("pub", pub)
    app = web.Application()
    server.attach(app)
    web.run_app(app, host="127.0.0.1", port=port, backlog=4096, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
