"""The protocol as pure state machines: no clock, randomness, ids or I/O of their own.

Read in this order:

    events, frames            messages and their encoding
    states, errors            which frame is allowed in which state; close codes and how a client reacts
    config, timers, actions   every parameter; named timers; requests to the driver
    policies/                 when to reconnect, fall back and ping; replaceable
    client/                   one client's session: start with `session`
    server/                   one run: start with `run`
    records, limits, statistics, metrics   stored values; limits by name; what monitoring observes
    saved_session, session_trace           what a client saves of its session, and what it records of it

Time is `now`, an integer of nanoseconds that never goes backwards. The driver supplies a `RandomSource` for random numbers.
`client/driver` and `server/driver` are the loop around a machine; a world (trio, SimPy, Hypothesis) supplies their I/O.
Numbers such as 7.13 in comments are clauses of docs/protocol.md.
"""
