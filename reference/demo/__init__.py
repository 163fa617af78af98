"""`steadywire demo`: a real server process and real clients on a network that breaks, and a judgement on what became of it.

    schedule        what will happen, as a pure function of the seed: paths, work, faults
    parameters      how client and server are set here: shorter times than the defaults, so that all fits into seconds
    ports           where server and lines listen
    server_main     the server's process: the ordinary server, and what its runs let observe, as lines
    server_process  that process as the demo sees it: start, kill, start again, and never leave it behind
    recorder        what the clients' own records say, as one trace
    actors          a client: it joins, works, reads, and leaves when all is over
    troubles        the faults, each at its time;  rest: when everything has healed
    stage           everything put together for one run
    watching        what one sees meanwhile (`scenery`): `live` on a terminal, `plain` lines elsewhere
    report          the figures, as JSON;  summary: the same for a reader
    command         exit codes

The clients, the server, the network emulator and the checkers are the ones that everybody uses; nothing here is a second version
of them. What happened is judged by `simulation.checkers` from the clients' own records and from the log that the store holds at
the end, by the same functions that judge a simulated run.
"""
