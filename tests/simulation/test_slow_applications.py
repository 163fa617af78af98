"""Applications slower than the events: the session slows the server down, or holds, and nothing is lost."""

import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import ConfigError
from simulation.processes.fidelity.twin import check_playable
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart, Workload
from simulation.trace.trace import ConnectionLeft, Delivered, SnapshotTaken
from simulation.world import Result, run

TALK = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, chat_per_s=20, cursor_per_s=0)
SILENT = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)


def beside_a_talker(takes_per_s: float | None, **changes: object) -> Result:
    """One client that publishes 20 events per s for 10 s, and one whose application takes so many per s."""
    reader = ClientPart(config=ClientConfig(patience_s=0.5), takes_per_s=takes_per_s, outcomes_waiting_max=20)
    scenario = Scenario(
        name="slow",
        groups=(Group(name="talks", workload=TALK), Group(name="reads", workload=SILENT, client=reader)),
        horizon_s=10.0,
        settle_s=120.0,
    )
    return run(scenario.replace(**changes))


def numbers(result: Result) -> list[int]:
    return [each.sequence_number for each in result.trace if isinstance(each, Delivered) and each.client == "reads-0"]


def left(result: Result) -> list[int | None]:
    return [each.code for each in result.trace if isinstance(each, ConnectionLeft) and each.client == "reads-0"]


@pytest.mark.parametrize("takes_per_s", [None, 1000.0, 5.0, 0.8])
def test_every_event_is_taken_in_order_at_any_pace(takes_per_s: float | None) -> None:
    result = beside_a_talker(takes_per_s, settle_s=400.0)
    assert all(verdict.status != "violated" for verdict in result.verdicts.values())
    assert len(numbers(result)) > 150
    assert numbers(result) == list(range(1, len(numbers(result)) + 1))


def test_a_reader_that_takes_one_within_the_limit_keeps_its_connection() -> None:
    assert left(beside_a_talker(5.0)) == []
    assert 4001 in left(beside_a_talker(0.8)), "one that does not is resumed from its position"


def test_what_is_not_taken_waits_at_the_server() -> None:
    """The reader has 20 outcomes; the network takes the send buffer; the rest stays in the log, and is trimmed in the end."""
    small = ServerConfig(events_kept_max=50, snapshot_interval_events=25, appends_pending_max=50)
    result = beside_a_talker(5.0, server=ServerPart(config=small, send_buffer_bytes=2000))
    taken = [each.reason for each in result.trace if isinstance(each, SnapshotTaken) and each.client == "reads-0"]
    assert "expired" in taken
    assert all(verdict.status != "violated" for verdict in result.verdicts.values())


def test_real_processes_refuse_a_pace_that_they_would_not_keep() -> None:
    with pytest.raises(ConfigError, match="takes_per_s"):
        check_playable(Scenario(name="slow", groups=(Group(name="c"),), client=ClientPart(takes_per_s=1.0)))
