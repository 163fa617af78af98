"""Several server processes on one PostgreSQL: each accepts any client, and one process serves each run, its owner. The others
relay to it (docs/architecture.md, "Several processes").

    membership     this process as a member: joins, reports that it is alive, gives up its runs when it is cut off
    router         which process a request or an upgrade is for; remembered until a process refuses (421)
    upgrade_relay  carries one WebSocket to the run's owner
    request_relay  carries HTTP requests to the run's owner
    admin          the admin API: asks all other processes, and merges their answers

The owner decides about its runs: it checks token, origin and frames as if the client had connected to it directly. The relaying
process checks what it can too, so that a client without a token occupies one process only. A relayed request carries a secret
that shows that one of our processes sent it. Each process generates one when it joins, readable for everyone who can read the
database. It only prevents relaying twice; it grants no access.

A single process, on SQLite or in memory, uses none of this.
"""
