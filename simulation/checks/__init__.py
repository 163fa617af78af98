"""The guarantees G1 to G13, checked on a trace alone. `checkers` is the entry point.

delivery      G1 to G5, G8, G11, G12: the log, and what was delivered to clients
connections   G6, G7, G9, G10, G13: clients and their connections
watched       checks that need a trace of every frame at both ends
timing        no action too early or too late, also during faults
presence      presence and cursors as readers are notified of them, also during faults
rest          what must hold once the world has settled
aggregated    the same for a trace without messages, as far as possible
verdicts      the result of a checker
"""
