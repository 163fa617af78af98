"""One scenario, twice: in the simulator, and with real processes.

Publishes, arrivals and faults are taken from the simulated trace, so both sides have the same workload and the same faults at the
same times; and every client uses the same random numbers for its waits. The remaining differences are what the model leaves out:
the machine under the processes, the kernel's TCP, the schedulers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference.protocol.errors import ConfigError
from reference.protocol.events import CURSOR_MOVE
from reference.protocol.timers import NS_PER_S
from simulation.processes.real_run import Played, play
from simulation.processes.run_plan import ClientPlan, Move, Parameters, Plan
from simulation.replay.rebuild import faults_as_they_were
from simulation.scenario.faults import LinkFault, ServerRestart
from simulation.scenario.scenario import Scenario, longest_wait_s
from simulation.trace.trace import ClientStarted, CursorMoved, Published, Trace
from simulation.world import run

MACHINE_S_MAX = 0.5
"""What a busy machine may add to a round trip, in seconds, before a bound counts as missed."""
REAL_CLIENTS_MAX = 500
"""The limit for all clients, which run in one process with the emulator."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Two traces of one scenario. `late_ms`: how late the timed actions of the real clients' process were; large values mean that
    the machine could not keep up."""

    scenario: Scenario
    simulated: Trace
    real: Trace
    late_ms: tuple[float, ...]


class Silent:
    """A watcher that prints nothing."""

    def say(self, at_s: float, sentence: str) -> None:
        pass

    def show(self, scene: Any) -> None:
        pass


async def play_both(scenario: Scenario, directory: Path) -> Twins:
    """Simulate a scenario, then run it with real processes, whose files are in `directory`.

    Raises ConfigError for a scenario that real processes cannot run, ServerFailed, NoFreePort.
    """
    check_playable(scenario)
    simulated = run(scenario).trace
    played: Played = await play(plan_of(scenario, simulated), Silent(), directory)
    return Twins(scenario, simulated, played.trace, played.delays_ms)


def check_playable(scenario: Scenario) -> None:
    """Raise ConfigError for what real processes and the emulator cannot do."""
    if len(scenario.client_names) > REAL_CLIENTS_MAX:
        raise ConfigError(
            f"{len(scenario.client_names)} real clients in one process are too many; the limit is {REAL_CLIENTS_MAX}"
        )
    if any(group.shared_bottleneck is not None for group in scenario.groups):
        raise ConfigError("a shared_bottleneck is the simulator's alone: the proxy gives each client its path; remove it")
    if any(group.nat is not None for group in scenario.groups) or scenario.server.balancer is not None:
        raise ConfigError("the ports of a nat or a balancer are the simulator's alone; remove nat and server.balancer")
    if any(path.dns is not None for group in scenario.groups for path in scenario.paths_of(group)):
        raise ConfigError("names are the simulator's alone: real clients find the proxy by its port; remove path.dns")
    if any(group.client is not None for group in scenario.groups):
        raise ConfigError("groups with client parameters of their own cannot be played by real processes; set them for everyone")
    if scenario.server.token_lifetime_s is not None:
        raise ConfigError("token_lifetime_s cannot be played by real processes, whose server takes development tokens; remove it")
    if scenario.client.takes_per_s is not None:
        raise ConfigError("takes_per_s cannot be played by real processes, whose applications take everything at once; remove it")
    if any(group.stay is not None for group in scenario.groups):
        raise ConfigError("real clients stay to the end; remove stay")
    if scenario.client.timer_late_max_s or scenario.server.timer_granularity_s or scenario.server.timer_slack_s:
        raise ConfigError("real timers are as late as their machine makes them; remove timer_granularity_s and timer_slack_s")
    if scenario.record != "full":
        raise ConfigError('real processes repeat each publish of the simulated trace; set record = "full"')
    if scenario.server.instances > 1:
        raise ConfigError("real processes play one instance of the server; set server.instances = 1")
    for fault in scenario.fault_kinds:
        if not isinstance(fault, LinkFault | ServerRestart):
            kind = type(fault).__struct_config__.tag
            raise ConfigError(f"a {kind} cannot be played by real processes; remove it")


def plan_of(scenario: Scenario, simulated: Trace) -> Plan:
    """The plan for real processes that equals the simulated trace."""
    started: dict[str, int] = {}
    moves: dict[str, list[Move]] = {name: [] for name in scenario.client_names}
    for record in simulated:
        match record:
            case ClientStarted(at=at, client=client):
                started.setdefault(client, at)
            case Published(at=at, client=client, event_type=event_type, data=data):
                moves[client].append(Move(at / NS_PER_S, event_type, data))
            case CursorMoved(at=at, client=client, data=data):
                moves[client].append(Move(at / NS_PER_S, CURSOR_MOVE, data))
            case _:
                pass
    part = scenario.client
    return Plan(
        seed=scenario.seed,
        seconds=scenario.horizon_s,
        clients=tuple(
            ClientPlan(name, group.path, started[name] / NS_PER_S, tuple(moves[name]))
            for group in scenario.groups
            for name in group.client_names
            if name in started
        ),
        faults=faults_as_they_were(simulated),
        parameters=Parameters(
            client=part.config,
            server=scenario.server.config,
            policy=part.policy,
            fallback=part.fallback,
            heartbeat=part.heartbeat,
            wait_max_s=longest_wait_s(part.policy, scenario.end_s),
            round_trip_max_s=scenario.round_trip_max_s + MACHINE_S_MAX,
        ),
        settle_s=scenario.end_s - scenario.horizon_s,
    )
