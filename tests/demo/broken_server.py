"""The demo's server, broken on purpose: `python broken_server.py BUG --port ... --store ... --run ...`.

It changes one thing and then runs the ordinary server process, so everything else is as in a real demo.
"""

import sys
from collections.abc import Callable, Sequence

import msgspec
import trio

from reference.protocol.frames import Message, Publish
from reference.protocol.records import Append
from reference.protocol.server.sequencer import Sequencer
from reference.store import StoreError
from reference.store.sql import SqlStore
from simulation.processes import server_main


def skip_the_dedupe() -> None:
    """Accept a publish that was accepted before as a new one, from an unknown client."""
    take = Sequencer.publish

    def publish(self: Sequencer, client_id: str, user_id: str, message: Publish | Message, connection_id: int, now: int) -> None:
        while message.client_sequence <= self.last_of(client_id):
            client_id += "-again"
            message = msgspec.structs.replace(message, after=0)
        take(self, client_id, user_id, message, connection_id, now)

    Sequencer.publish = publish  # type: ignore[method-assign]


def acknowledge_before_storing() -> None:
    """Report everything as stored at once, and store it when the server stops."""
    store, close = SqlStore.append, SqlStore.aclose
    waiting: list[Append] = []

    async def append(self: SqlStore, batches: Sequence[Append]) -> list[StoreError | None]:
        await trio.lowlevel.checkpoint()
        waiting.extend(batches)
        return [None] * len(batches)

    async def aclose(self: SqlStore) -> None:
        if waiting:
            await store(self, waiting)
        await close(self)

    SqlStore.append = append  # type: ignore[method-assign]
    SqlStore.aclose = aclose  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {bug.__name__: bug for bug in (skip_the_dedupe, acknowledge_before_storing)}


if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    sys.exit(server_main.main(sys.argv[2:]))
