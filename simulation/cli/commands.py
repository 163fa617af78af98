"""All commands of `steadywire`: the operator's (`reference.cli`) and the laboratory's.

    conformance      the conformance kit
    laboratory       commands in virtual time
    real_processes   commands that run real processes or measure this machine

Each command's work lives in a module of its own, which is imported only when the command runs: `--help` must be quick.
"""

from importlib.metadata import version

from cyclopts import App

from reference.cli import migrate, serve, token
from simulation.cli.conformance import conformance
from simulation.cli.laboratory import (
    diagram,
    fluid,
    lab,
    replay,
    scenario_schema,
    scenarios,
    simulate,
    sweep,
    tune,
    verify,
    what_if,
)
from simulation.cli.real_processes import bench, calibrate, demo, fidelity, proxy

app = App(
    name="steadywire",
    help="Real-time connections that survive bad networks, and a laboratory to study and tune them offline.",
    version=version("steadywire"),
    suppress_keyboard_interrupt=False,
)
COMMANDS = (
    demo,
    serve,
    token,
    migrate,
    proxy,
    conformance,
    lab,
    simulate,
    scenarios,
    scenario_schema,
    sweep,
    tune,
    fluid,
    diagram,
    replay,
    what_if,
    verify,
    fidelity,
    calibrate,
    bench,
)
for command in COMMANDS:
    app.command(command)
