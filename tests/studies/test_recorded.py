"""Worlds that real processes can play, and the figures of what they recorded."""

from pathlib import Path

import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from simulation import Frames
from simulation.processes.fidelity.twin import check_playable
from simulation.scenario.faults import LoadBalancerCut
from simulation.studies import load_study
from simulation.studies.figures import DERIVED
from simulation.studies.recorded import recorded
from simulation.world import World
from tests.simulation.worlds import QUIET, calm

NAMES = ("recovery_p99_s", "storm_peak_per_s")


def test_real_processes_can_play_the_worlds_of_the_office() -> None:
    for scenario in load_study(Path("office_cut")).scenarios_of(Path()):
        check_playable(scenario)
        assert scenario.server.capacity is None, "`steadywire fidelity` sets the costs of the machine"
        assert len(scenario.client_names) <= 200


def test_a_recorded_run_has_the_figures_of_its_trace(tmp_path: Path) -> None:
    cut = LoadBalancerCut(at_s=3.0, duration_s=1.0)
    scenario = calm(clients=4, horizon_s=5.0, settle_s=10.0, workload=QUIET, faults=(cut,))
    results = {side: World(scenario, replication).run() for replication, side in enumerate(("simulated", "real"))}
    (tmp_path / "calm-1").mkdir()
    (tmp_path / "calm-1" / "scenario.toml").write_text(scenario.to_toml())
    for side, result in results.items():
        result.trace.write(tmp_path / "calm-1" / f"{side}.jsonl")
    expected = [
        {"run": "calm-1", "side": side, **{name: DERIVED[name](result, Frames(result.trace_index)) for name in NAMES}}
        for side, result in results.items()
    ]
    pd.testing.assert_frame_equal(recorded(tmp_path, NAMES), pd.DataFrame(expected))


def test_a_folder_or_a_figure_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no runs"):
        recorded(tmp_path, NAMES)
    with pytest.raises(ConfigError, match="did you mean 'recovery_p99_s'"):
        recorded(tmp_path, ["recovery_p98_s"])
