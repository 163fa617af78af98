"""Replay: a recorded real run, simulated again with the same or other parameters.

conclusions     the recording of one client in production (`client.record(path)`) as the trace of a run, with the faults of the
                network inferred from what that client observed
rebuild         a trace as a scenario: the same arrivals, publishes, round trips and faults; can be varied like any other
what_if         a recording simulated as it was and with changes, side by side
live            a run on real sockets, recorded as a trace while it lasts, and simulated again
cases           a saved case or a scenario, run again with all its messages shown (`steadywire replay`)

There are two kinds of recordings. In a trace of many clients the faults are known (`steadywire demo --trace FILE`). In the
recording of one client they are not: it does not show when the network came back between the last failed attempt and the first
successful one. Such a recording is simulated twice, with the earliest and the latest possible time, and the difference is what
the recording leaves open.
"""
