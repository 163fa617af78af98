"""The server: the pure machines of `reference.protocol`, driven by trio, real sockets and a store.

live_run, run_output    one run in memory: what happens to it, and where its driver's output goes
peers, encoding, clock  the two kinds of peers; frames to bytes, once; the time
registry                which runs are in memory
connection, http/       how clients come in: WebSocket, and every HTTP call
access/                 who may come in, and what one user may take
app, server             put together, and stopped
monitoring/, wire/, cluster/         metrics and logs; bytes and sockets; several processes on one database
context, settings, settings_file     what runs share; what an operator sets

Nothing here decides what a client receives: the machines do. What is decided here is who waits, for what, and for how long.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from reference.server.access.auth import make_token
    from reference.server.app import open_server, serve
    from reference.server.settings import ServerSettings
    from reference.server.settings_file import load_settings
    from reference.store import open_store

__all__ = ["ServerSettings", "load_settings", "make_token", "open_server", "open_store", "serve"]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "ServerSettings": "reference.server.settings:ServerSettings",
        "load_settings": "reference.server.settings_file:load_settings",
        "make_token": "reference.server.access.auth:make_token",
        "open_server": "reference.server.app:open_server",
        "open_store": "reference.store:open_store",
        "serve": "reference.server.app:serve",
    },
)
