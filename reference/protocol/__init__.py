"""The protocol: pure state machines, without a clock, randomness, ids, input or output of their own.

Read in this order:

    events, frames, codec     what is said, and its bytes
    states, errors            when it may be said, and what a code asks of a client
    config, timers, actions   every parameter; named timers; what a driver is asked to do
    policies/                 when to reconnect, fall back, ping: exchangeable
    client/                   one client's session: start with `session`
    server/                   one run: start with `run`
    records, rate_limit, limits, statistics, metrics   stored values; limits by name; what is observed

Time is an integer of nanoseconds, `now`, that never goes backwards. Random numbers come from a `RandomSource` of the
driver. `client/driver` and `server/driver` are the loop around a machine; a world (trio, SimPy, Hypothesis) supplies their IO.
Numbers such as 7.13 in comments are the clauses of docs/protocol.md.
"""
