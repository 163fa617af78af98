"""The protocol: pure state machines, with no clock, no chance, no ids, no input or output of their own.

Read in this order: `events` and `frames` (what is said), `states` (when it may be said), then one side at a time:
`client_session` with `outbox`, `inbox`, `backoff`, `polling` and `health`; `run` with `server_session`, `sequencer`,
`event_log`, `fan_out` and `presence`.

Time is an integer of nanoseconds that the driver passes in as `now` and that never goes backwards; chance is a `Draws`
that the driver hands over. Whoever drives a machine (trio, SimPy, Hypothesis) does the same after every input: sends what
`take_actions()` gives, hands `take_outcomes()` to the application, and arms one alarm for `next_deadline()`.
"""
