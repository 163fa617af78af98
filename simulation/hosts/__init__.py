"""The endpoints of the simulated network: clients, the server's machine and processes, its store; and the users' workload."""
