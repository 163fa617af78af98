"""The protocol: pure state machines, with no clock, no chance, no ids, no input or output of their own.

Read in this order: `events` and `frames` (what is said), `states` (when it may be said), `actions` (what a driver is asked to
do), then one side at a time:

    client_session   sending (outbox), receiving (inbox, roster), links (backoff, fallback, polling, probes), pulse (heartbeat),
                     health
    run              sequencer (run_state), event_log, fan_out, gathering (membership, presence), requests, server_session,
                     connections

Time is an integer of nanoseconds that the driver passes in as `now` and that never goes backwards; chance is a `Draws`
that the driver hands over. Whoever drives a machine (trio, SimPy, Hypothesis) does the same after every input: sends what
`take_actions()` gives, hands `take_outcomes()` to the application, and arms one alarm for `next_deadline()`.
"""
