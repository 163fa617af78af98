"""One scenario in all three worlds: `python -m tests.parity.replay FILE` says where two of them part."""

import argparse
from pathlib import Path

from simulation.scenario.scenario import Scenario, load_scenario

from .comparison import differences
from .play import SCHEDULES_MAX, play_in_all


def report(scenario: Scenario, *, schedules_max: int = SCHEDULES_MAX) -> list[str]:
    """The first difference of each pair of worlds that differ."""
    found = []
    for left, right in play_in_all(scenario, schedules_max=schedules_max).pairs():
        parted = differences(left, right)
        if parted:
            found.append(f"{left.world} and {right.world} differ in {len(parted)} places, first here:\n\n{parted[0]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Play a scenario in all three worlds and say where two of them part.")
    parser.add_argument("file", type=Path)
    found = report(load_scenario(parser.parse_args().file))
    print("\n\n".join(found) or "the three worlds tell the same")
    raise SystemExit(len(found) > 0)


if __name__ == "__main__":
    main()
