"""What would have happened with other parameters: a real run, recorded, and played again in the simulator.

    session_trace  the record that one client wrote in the field (`client.record(path)`), as a trace; what the network did is
                   concluded from what the client met (`conclusions`)
    rebuild        a trace as a scenario: the same arrivals, publishes, round trips and troubles; to be varied like any other
    what_if        a recording played as it was and with changes, side by side
    command        `steadywire what-if`

Two kinds of recordings are taken. A trace of many clients, in which the faults are known (`steadywire demo --trace FILE`), and
the record of one client, in which they are not: between its last failed attempt and its first successful one nobody knows when
the network came back. Such a record is played twice, under the earliest and under the latest time that it allows, and what lies
between the two is what the record cannot tell.
"""
