"""Sweeps: equal results on any number of workers, honest intervals, and pairs on common random numbers."""

import math
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from simulation.scenario.faults import Reset
from simulation.scenario.scenario import Scenario, Workload
from simulation.studies.sweeping import interval, paired, sweep
from tests.simulation.worlds import calm

ROOT = Path(__file__).parents[2]
GRID = {"client.policy.cap_s": [1.0, 30.0], "groups.c.path.latency_s": [0.01, 0.1]}


def short() -> Scenario:
    return calm(horizon_s=3.0, settle_s=3.0, faults=(Reset(at_s=1.5),))


@cache
def runs() -> pd.DataFrame:
    return sweep(short(), GRID, replications=3)


def test_every_point_has_every_replication() -> None:
    assert len(runs()) == 2 * 2 * 3
    assert (runs().groupby(list(GRID))["replication"].apply(list).map(tuple) == (0, 1, 2)).all()
    assert runs()["scenario"].nunique() == 4
    assert (runs()["violated"] == "").all()


def test_points_share_their_chance() -> None:
    by_replication = runs().groupby("replication")["published"].nunique()
    assert (by_replication == 1).all()  # the same work in every point
    assert runs()["published"].nunique() > 1


def test_an_interval_is_that_of_student() -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, math.nan], "replication": range(4)})
    row = interval(table, "x").iloc[0]
    half = 4.302653 * 1.0 / math.sqrt(3)  # t(0.975, 2) times the standard error
    assert (row["mean"], row["replications"], row["missing"]) == (2.0, 3, 1)
    assert row["high"] - row["mean"] == pytest.approx(half, rel=1e-6)
    alone = interval(table.head(1), "x").iloc[0]
    assert alone["mean"] == 1.0
    assert math.isnan(alone["low"])


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    from random import Random

    chance = Random(5)
    covered = 0
    for _ in range(200):
        table = pd.DataFrame({"x": [chance.expovariate(1.0) + chance.random() for _ in range(12)], "replication": range(12)})
        row = interval(table, "x", confidence=0.9).iloc[0]
        covered += row["low"] <= 1.5 <= row["high"]
    assert 0.82 <= covered / 200 <= 0.97


def test_a_pair_is_subtracted_replication_by_replication() -> None:
    table = pd.DataFrame(
        {"v": ["a"] * 3 + ["b"] * 3, "x": [1.0, 5.0, 9.0, 2.0, 6.1, 9.9], "seed": 1, "replication": [0, 1, 2] * 2}
    )
    row = paired(table, "x", by="v").iloc[0]
    assert (row["v"], row["against"]) == ("b", "a")
    assert row["mean"] == pytest.approx(1.0)
    assert row["high"] - row["low"] < 0.6  # the values themselves differ by eight
    far = sweep(calm(workload=Workload(chat_per_s=2.0)), {"groups.c.path.latency_s": [0.01, 0.1]}, replications=3)
    longer = paired(far, "latency_p50_s", by="groups.c.path.latency_s").iloc[0]
    assert longer["low"] > 0.15


def test_a_grid_that_makes_no_sense_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="there is no 'no'"):
        sweep(short(), {"no.such": [1]})
    with pytest.raises(ConfigError, match="a list of values"):
        sweep(short(), {"horizon_s": []})
    with pytest.raises(ConfigError, match="at least one"):
        sweep(short(), replications=0)
    with pytest.raises(ConfigError, match="no column 'latency'"):
        interval(runs(), "latency")


SCRIPT = """
from simulation.studies.sweeping import sweep
from tests.studies.test_sweep import short
if __name__ == "__main__":
    runs = sweep(short(), {{"client.policy.cap_s": [1.0, 30.0]}}, replications=2, workers={workers})
    print(",".join(runs["trace"]), runs.to_json())
"""


@pytest.mark.slow
def test_traces_are_byte_equal_on_any_number_of_workers_and_any_hash_seed(tmp_path: Path) -> None:
    said = set()
    for workers, hash_seed in ((1, "0"), (2, "1"), (2, "77")):
        script = tmp_path / f"{workers}.py"
        script.write_text(SCRIPT.format(workers=workers))
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, script], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1
