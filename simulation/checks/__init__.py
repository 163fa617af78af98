"""The guarantees G1 to G13, judged from a trace and from nothing else. `checkers` is the entry point.

delivery      G1 to G5, G8, G11, G12: the log, and what clients were given of it
connections   G6, G7, G9, G10, G13: clients and their connections
watched       parts that only a trace shows whose world watched every frame at both ends
timing        nothing happens before its time, and nothing long after it, while faults last as well
presence      presence and cursors as readers are told of them, while faults last as well
rest          what must be so once everything has come to rest
aggregated    the same as far as a trace without messages shows them
verdicts      how a checker reports a violation
"""
