"""What is simulated, as frozen values: population, workload, paths, faults, server, parameters, seed. `scenario` is the whole."""
