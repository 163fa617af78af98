"""steadywire's laboratory: the same protocol machines in virtual time, on networks that misbehave.

    from simulation.scenario import load_scenario
    from simulation.world import run

    result = run(load_scenario(path), seed=7)
    result.verdicts["G3"].status, result.counts.lost, Frames(result.facts)["messages"]

Read in this order: `laws`, `paths`, `faults` and `scenario` (what is simulated), `clock`, `lane`, `line` and `network` (how bytes
travel), `client_host`, `server_host`, `peer` and `store` (who sits at the ends), `workload`, `world`; then what comes of it:
`trace` and `recording`, `facts` and `histories`, `checkers` and `counts`, `results`, `plots`. `command` is `steadywire simulate`.
"""
