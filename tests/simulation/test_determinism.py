"""Equal scenario, seed and replication: equal bytes, in any process."""

from pathlib import Path

import pytest

from simulation.trace.trace import Trace
from simulation.world import World, run
from tests.other_process import printed_by
from tests.simulation.worlds import everything, everything_result, troubled_server

SCRIPT = """
from simulation.world import run
from tests.simulation.worlds import everything, troubled_server
print(run(everything()).trace.digest(), run(troubled_server()).trace.digest())
"""


def test_two_runs_in_one_process_are_byte_equal() -> None:
    assert run(everything()).trace.to_bytes() == everything_result().trace.to_bytes()


@pytest.mark.parametrize("hash_seed", ["0", pytest.param("4711", marks=[pytest.mark.slow, pytest.mark.parallel])])
def test_the_hash_seed_changes_nothing(hash_seed: str) -> None:
    digests = printed_by(SCRIPT, hash_seed=hash_seed).split()
    assert digests == [everything_result().trace.digest(), run(troubled_server()).trace.digest()]


def test_another_seed_or_replication_is_another_run() -> None:
    digests = {
        everything_result().trace.digest(),
        run(everything(), seed=2).trace.digest(),
        World(everything(), replication=1).run().trace.digest(),
    }
    assert len(digests) == 3


def test_the_seed_of_the_call_is_the_seed_of_the_scenario() -> None:
    assert run(everything(), seed=5).trace.digest() == run(everything(seed=5)).trace.digest()


def test_a_trace_reads_back_as_it_was_written(tmp_path: Path) -> None:
    trace = everything_result().trace
    trace.write(tmp_path / "trace.jsonl")
    again = Trace.read(tmp_path / "trace.jsonl")
    assert list(again) == list(trace)
    assert again.to_bytes() == trace.to_bytes()
