"""The costs of a machine for the simulator: the difference between its ideal network and a real one.

    hop             the time that event loops and emulator add to one frame in one direction, in seconds, as a distribution
    commit_time     of one transaction of the store, in seconds, as a distribution
    frame_cost_s    processor time of one incoming frame
    delivery_cost_s and of one frame sent to one reader
    handshake_cost_s and of one connection, from its SYN to its welcome

They are fitted (`calibration`), written as TOML, and applied to a scenario; if the scenario already has such costs, a ConfigError
is raised.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from reference.protocol.errors import ConfigError
from reference.tables import value_of
from reference.toml_files import read_toml
from simulation.scenario.distributions import Constant, Distribution
from simulation.scenario.scenario import Capacity, Scenario
from simulation.scenario.text import to_toml

Cost = Annotated[float, msgspec.Meta(ge=0, le=10)]


class MeasuredCosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module. `about`: where and when they were fitted."""

    about: str = ""
    hop: Distribution
    commit_time: Distribution
    frame_cost_s: Cost
    delivery_cost_s: Cost
    handshake_cost_s: Cost

    def applied_to(self, scenario: Scenario) -> Scenario:
        """The scenario on a machine that has these costs. Raises ConfigError if it has costs or delays of its own."""
        if scenario.server.capacity is not None or scenario.server.commit_time is not None:
            raise ConfigError(
                f"the scenario {scenario.name} sets costs of its own (server.capacity, server.commit_time); remove them"
            )
        if any(group.path.delay is not None for group in scenario.groups):
            raise ConfigError(f"the scenario {scenario.name} has a path with a delay law of its own; use latency_s and jitter_s")
        capacity = Capacity(
            frame_cost=Constant(value=self.frame_cost_s),
            delivery_cost=Constant(value=self.delivery_cost_s),
            handshake_cost=Constant(value=self.handshake_cost_s),
        )
        server = msgspec.structs.replace(scenario.server, commit_time=self.commit_time, capacity=capacity)
        groups = tuple(
            msgspec.structs.replace(group, path=msgspec.structs.replace(group.path, delay=self.hop)) for group in scenario.groups
        )
        return scenario.replace(server=server, groups=groups)

    def to_toml(self) -> str:
        return to_toml(msgspec.to_builtins(self))


def load_costs(path: Path) -> MeasuredCosts:
    """Read what `steadywire calibrate` wrote. Raises ConfigError."""
    table = read_toml(path)
    try:
        return value_of(table, MeasuredCosts)
    except ConfigError as error:
        raise ConfigError(f"{path} is not a costs file: {error}; make it with `steadywire calibrate --out {path}`") from None
