"""The modules that one event enters on its way over real sockets: `python -m tests.benchmarks.event_flow`.

A server with an SQLite store and two clients run in one process. From the publish of one event until the other client has it
and its author knows its number, every call is watched, except in the thread of the database; printed are the modules of the
project in the order in which they are entered. Timers may fire meanwhile, so only modules that each of three events enters are
counted.
"""

import argparse
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

import trio

from reference.client import connect, create_run
from reference.server import ServerSettings, open_server

MODULES_MAX = 32
"""What a reader can follow in an evening (docs/architecture.md)."""
EVENTS = 3


async def modules_entered(store: str) -> list[str]:
    """The modules, in order of entry."""
    flows: list[dict[str, None]] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            name = frame.f_globals.get("__name__", "")
            if name.startswith("reference."):
                flows[-1].setdefault(name)

    settings = ServerSettings(port=0, store=store)
    async with open_server(settings) as server:
        run_id = await create_run(server.url, token="dev:ada")
        async with (
            connect(server.url, run_id, token="dev:ada") as ada,
            connect(server.url, run_id, token="dev:bob") as bob,
        ):
            await ada.publish("CHAT", {"text": "everybody is here"})
            await anext(bob.events())
            for _ in range(EVENTS):
                flows.append({})
                threading.setprofile(watch)
                sys.setprofile(watch)
                try:
                    await ada.publish("GRAFT", {"position": "step-3", "agent": "reviewer"})
                    await anext(bob.events())
                finally:
                    sys.setprofile(None)
                    threading.setprofile(None)
    return [name for name in flows[0] if all(name in flow for flow in flows)]


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = trio.run(modules_entered, f"sqlite:///{Path(folder) / 'events.sqlite3'}")
    for number, name in enumerate(found, start=1):
        print(f"{number:3} {name}")
    print(f"{len(found)} modules; at most {MODULES_MAX} wanted")
    return len(found) > MODULES_MAX


if __name__ == "__main__":
    sys.exit(main())
