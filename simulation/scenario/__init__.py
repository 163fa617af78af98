"""The parts of a scenario, as frozen values: population, workload, paths, faults, server, parameters, seed. Read `scenario`
first."""
