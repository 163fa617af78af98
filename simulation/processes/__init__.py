"""Runs of real processes: a server, clients, and an emulated network with planned faults between them.

    plan            the clients, their workload, the faults, the settings
    ports           the ports of server and access links
    server_main     the server's process: the ordinary server, and the observations of its runs, as lines
    server_process  controls that process: start, kill, restart; it never outlives its parent
    recorder        one trace from the clients' own records
    actors          a client: it joins, works, reads, and leaves when all is over
    troubles        the faults, each at its time;  rest: when everything has healed
    stage           everything put together for one run
    watching        what one sees meanwhile, made by `scenery`

Clients, server and network emulator are the ordinary ones, not copies. The
result is a trace in the simulator's format, checked by `simulation.checks.checkers` like a simulated one.
"""
