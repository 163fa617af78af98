"""A run played by real processes: a server, clients, and a network between them that fails on purpose.

    plan            who takes part, what they do, which faults come, how everything is set
    ports           where server and lines listen
    server_main     the server's process: the ordinary server, and what its runs let observe, as lines
    server_process  that process as seen from here: start, kill, start again, and never leave it behind
    recorder        what the clients' own records say, as one trace
    actors          a client: it joins, works, reads, and leaves when all is over
    troubles        the faults, each at its time;  rest: when everything has healed
    stage           everything put together for one run
    watching        what one sees meanwhile, made by `scenery`

The clients, the server and the network emulator are the ones that everybody uses; nothing here is a second version of them. What
comes out is a trace in the simulator's words, judged by `simulation.checks.checkers` like a simulated one.
"""
