"""Hypothesis strategies for all values of this project, and state machines for other servers and clients.

    from hypothesis import given
    from simulation import run
    from simulation.testing import scenarios

    @given(scenarios())
    def test_ours(scenario):
        assert run(scenario).is_ok

`docs/strategies.md` lists them with an example each. Hypothesis is in the extra `test`; nothing else here imports it.
"""

from simulation.testing.events import event_lists, events, publishes
from simulation.testing.frames import client_frames, frames_of, nearly, payloads, server_frames
from simulation.testing.machines import ClientMachine, PollingClientMachine, PollingServerMachine, ServerMachine
from simulation.testing.networks import rich_paths
from simulation.testing.policies import fallbacks, heartbeats, hurried, reconnect_policies
from simulation.testing.populations import arrivals, availabilities, distributions, stays, timings, workloads
from simulation.testing.scenarios import fault_schedules, faults, losses, paths, rich_scenarios, scenarios, traces
from simulation.testing.schedules import schedules, setups
from simulation.testing.small_configs import client_configs, server_configs
from simulation.testing.under_test import ClientUnderTest, PollingClientUnderTest, PollingServerUnderTest, ServerUnderTest

__all__ = [
    "ClientMachine",
    "ClientUnderTest",
    "PollingClientMachine",
    "PollingClientUnderTest",
    "PollingServerMachine",
    "PollingServerUnderTest",
    "ServerMachine",
    "ServerUnderTest",
    "arrivals",
    "availabilities",
    "client_configs",
    "client_frames",
    "distributions",
    "event_lists",
    "events",
    "fallbacks",
    "fault_schedules",
    "faults",
    "frames_of",
    "heartbeats",
    "hurried",
    "losses",
    "nearly",
    "paths",
    "payloads",
    "publishes",
    "reconnect_policies",
    "rich_paths",
    "rich_scenarios",
    "scenarios",
    "schedules",
    "server_configs",
    "server_frames",
    "setups",
    "stays",
    "timings",
    "traces",
    "workloads",
]
