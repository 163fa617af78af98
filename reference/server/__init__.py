"""The server: the pure machines of `reference.protocol`, driven by trio, real sockets and a store.

live_run, run_output    one run in memory: what happens to it, and where its driver's output goes
peers, encoding, clock  the two kinds of other end; frames to bytes, once; the time
registry                which runs are in memory
connection, http/       how clients come in: WebSocket, and every HTTP call
access, auth, origins, user_limits   who may
app, server             put together, and stopped
monitoring/, wire/, cluster/         metrics and logs; bytes and sockets; several processes on one database
context, settings, settings_file     what runs share; what an operator sets

Nothing here decides what a client is told: the machines do. What is decided here is who waits, for what, and for how long.
"""
