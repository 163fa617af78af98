"""`steadywire demo`: a real server process and real clients on a failing network, and a check of all guarantees.

    schedule        the plan, a pure function of the seed: paths, workload, faults
    parameters      the settings of client and server: shorter times than the defaults, so that everything fits into seconds
    live, plain     the progress, on a terminal and elsewhere
    report          the figures, as JSON;  summary: the same as text

`simulation.processes.real_run` runs it. `simulation.checks.checkers` checks the guarantees on the clients' own records and the
log in the store at the end, with the same functions as for a simulated run. Exit codes: `simulation.cli.demo`.
"""
