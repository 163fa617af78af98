"""steadywire's laboratory: the same protocol machines in virtual time, on networks that misbehave.

    from simulation import library
    from simulation.world import run

    result = run(library.load("elevator"), seed=7)            # or scenario.load_scenario(path)
    result.verdicts["G3"].status, result.counts.lost, Frames(result.facts)["messages"]

Read in this order: `distributions`, `paths`, `faults`, `population`, `work`, `presets` and `scenario` (what is simulated), `clock`,
`lane`, `line` and `network` (how bytes travel), `client_host`, `server_host`, `peer` and `store` (who sits at the ends),
`workload`, `world`; then what comes of it: `trace` and `recording`, `trace_index` and `histories`, `checkers` and `counts`, `results`,
`plots`, `diagram`, `sweep`. `lean_trace` and `measured` are for runs too large to keep. `command` is `steadywire simulate`.
"""
