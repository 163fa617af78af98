"""Runs of real processes: a server, clients, and an emulated network with planned faults between them.

    run_plan        the plan: clients, their workload, the faults, the settings
    real_run        one complete run; `participant` is one of its clients, `fault_schedule` carries out the faults
    server_process  controls the server's process, which never outlives its parent; `server_main` is that process
    recorder        one trace, from the clients' own records and the server's observations
    progress        what can be seen during a run
    ports           ports for the server and the access links
    demo            `steadywire demo`;  fidelity: real runs beside simulated ones
    proxy           `steadywire proxy`;  proxy_control: its HTTP API
    fixtures        the fixtures of the pytest plugin

Clients, server and network emulator are the ordinary ones, not copies. The result is a trace in the simulator's format, checked
by `simulation.checks.checkers` like a simulated one.
"""
