"""The server: the pure machines of `reference.protocol`, driven by trio, real sockets and a store.

Read in this order: `live_run` (the pump around one run) with `peers`, `encoding` and `clock`; `registry` (which runs are in
memory); `connection` (WebSocket) and `run_api` with `replay` and `problems` (HTTP), both behind `admission`, `auth` and
`origins`; then `app`, which puts it all together, and `server`, which stops it. `routes`, `openapi`, `operator_api`, `monitor`
and `metrics` are what an operator and other programs see; `command` is what the command line calls. `wire` is the byte level.

Nothing here decides what a client is told: the machines do. What is decided here is who waits, for what, and for how long.
"""
