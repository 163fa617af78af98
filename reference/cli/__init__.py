"""The operator's commands: serve, token and migrate. `simulation.cli` is the entry point and adds the laboratory's commands."""
