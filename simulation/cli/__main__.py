"""`python -m simulation.cli` is the command `steadywire`."""

from simulation.cli import main

main()
