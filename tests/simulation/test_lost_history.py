"""A server that lost its store, and clients that learn it over HTTP.

Found by the drawn worlds: the answer to a publish came from a new history, before a poll had reported that history, and was
taken for an answer of the old one.
"""

from reference.protocol.config import ClientConfig
from simulation.scenario.faults import Refuse, ServerRestart
from simulation.scenario.paths import Path
from simulation.scenario.scenario import ClientPart, Group, Scenario, Workload
from simulation.trace.trace import AcceptedRecord, ServerStarted
from simulation.world import run

SCENARIO = Scenario(
    name="lost_history",
    seed=0,
    horizon_s=20,
    groups=(Group(name="c", clients=2, path=Path(latency_s=0.3)),),
    workload=Workload(cursor_per_s=0),
    faults=(Refuse(at_s=0, duration_s=1), ServerRestart(at_s=3, duration_s=1.1, loses_state=True)),
    client=ClientPart(
        config=ClientConfig(
            connect_timeout_s=3,
            ping_interval_s=2,
            ping_timeout_s=3,
            fallback_after_failures=1,
            poll_interval_s=0.5,
            probe_interval_s=2,
            probe_interval_max_s=20,
            unanswered_max=1,
        )
    ),
)


def test_g3_an_answer_over_http_names_its_history() -> None:
    for seed in range(12):
        result = run(SCENARIO, seed=seed)
        assert result.is_ok, (seed, result.verdicts["G3"].violations)
        epochs = [record.epoch for record in result.trace if isinstance(record, ServerStarted)]
        accepted = {record.epoch for record in result.trace if isinstance(record, AcceptedRecord)}
        assert accepted <= set(epochs)
