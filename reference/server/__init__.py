"""The server: the pure machines of `reference.protocol`, driven by trio, real sockets and a store.

Read in this order: `live_run` (the pump around one run) with `peers`, `encoding` and `clock`; `registry` (which runs are in
memory); `connection` (WebSocket) and `run_api` with `replay`, `parameters` and `problems` (HTTP), both behind `admission`, `auth`
with `keys`, `origins` and `user_limits`; then `app`, which puts it all together, and `server`, which stops it.

What an operator and other programs see: `operations`, the table of all HTTP calls, with `routes`, `openapi` and `docs_page`;
`monitor` with `metrics` and `sessions`, from which `operator_api` and `admin_api` read; `logs`. `settings`, `settings_file` and
`command` are what the command line needs. `wire` is the byte level.

Nothing here decides what a client is told: the machines do. What is decided here is who waits, for what, and for how long.
"""
