"""The server: the pure machines of `reference.protocol`, driven by trio, real sockets and a store.

Read in this order: `live_run` (the pump around one run) with `peers`, `encoding` and `clock`; `registry` (which runs are in
memory); `connection` (WebSocket) and `run_api` with `replay`, `parameters` and `problems` (HTTP), both behind `admission`, `auth`
with `keys`, `origins` and `user_limits`; then `app`, which puts it all together, and `server`, which stops it.

What an operator and other programs see: `operations`, the table of all HTTP calls, with `routes`, `openapi` and `docs_page`;
`monitor` with `metrics` and `sessions`, from which `operator_api` and `admin_api` read; `logs`. `settings`, `settings_file` and
`command` are what the command line needs. `wire` is the byte level.

Nothing here decides what a client is told: the machines do. What is decided here is who waits, for what, and for how long.
"""

from typing import TYPE_CHECKING

from reference.public_names import imported_on_use

if TYPE_CHECKING:
    from reference.server.app import open_server, serve
    from reference.server.settings import ServerSettings
    from reference.server.settings_file import load_settings
    from reference.store import open_store

__all__ = ["ServerSettings", "load_settings", "open_server", "open_store", "serve"]

__getattr__, __dir__ = imported_on_use(
    globals(),
    {
        "ServerSettings": "reference.server.settings:ServerSettings",
        "load_settings": "reference.server.settings_file:load_settings",
        "open_server": "reference.server.app:open_server",
        "open_store": "reference.store:open_store",
        "serve": "reference.server.app:serve",
    },
)
