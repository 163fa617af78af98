"""The server: runs the pure machines of `reference.protocol` with trio, real sockets and a store.

live_run, run_output   one run in memory: its inputs, and the output of its driver
registry               which runs are in memory
connection, http/      client connections: WebSocket, and every HTTP call
access/                who may connect, and the limits of one user
app                    start and stop of the whole server
monitoring/, wire/, cluster/   metrics and logs; bytes and sockets; several processes on one database
context, clock, settings       what runs share; the time; what an operator can set

The machines decide what a client receives. This package decides who waits, for what, and for how long.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from reference.server.access.auth import make_token
    from reference.server.app import open_server, serve
    from reference.server.settings import ServerSettings, load_settings
    from reference.store import open_store

__all__ = ["ServerSettings", "load_settings", "make_token", "open_server", "open_store", "serve"]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "ServerSettings": "reference.server.settings:ServerSettings",
        "load_settings": "reference.server.settings:load_settings",
        "make_token": "reference.server.access.auth:make_token",
        "open_server": "reference.server.app:open_server",
        "open_store": "reference.store:open_store",
        "serve": "reference.server.app:serve",
    },
)
