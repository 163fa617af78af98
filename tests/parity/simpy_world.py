"""The scenario in SimPy: the shipped simulator, with its records observed."""

from reference.protocol import frames
from simulation.scenario.scenario import Scenario
from simulation.trace.trace import BeginningGiven
from simulation.world import World

from .inputs import limits_of
from .transcript import Direction, FrameSeen, Transcript

WORLD = "SimPy"


def play(scenario: Scenario) -> Transcript:
    """Run `scenario` to its end."""
    heard: list[tuple[int, FrameSeen]] = []

    def listen(client: str, now: int, direction: Direction, connection_id: int, frame: frames.Frame) -> None:
        heard.append((len(world.trace), FrameSeen(now, client, direction, connection_id, frame)))

    world = World(scenario, listen=listen)
    world.server.limits = limits_of(scenario)
    world.run()
    transcript = Transcript(WORLD)
    records = list(world.trace)
    taken = 0
    for position, seen in heard:  # each frame stands where it was when the trace had so many records
        transcript.entries += records[taken:position]
        transcript.entries.append(seen)
        taken = position
    transcript.entries += records[taken:]
    # Where a session without a snapshot begins is recorded by the simulator only.
    transcript.entries = [entry for entry in transcript.entries if not isinstance(entry, BeginningGiven)]
    return transcript
