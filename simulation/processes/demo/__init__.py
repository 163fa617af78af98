"""`steadywire demo`: a real server process and real clients on a network that breaks, and a judgement on what became of it.

    schedule        what will happen, as a pure function of the seed: paths, work, faults
    parameters      how client and server are set here: shorter times than the defaults, so that all fits into seconds
    live, plain     what one sees meanwhile, on a terminal and elsewhere
    report          the figures, as JSON;  summary: the same for a reader
    command         exit codes

`simulation.processes` plays it. What happened is judged by `simulation.checks.checkers` from the clients' own records and from
the log that the store holds at the end, by the same functions that judge a simulated run.
"""
