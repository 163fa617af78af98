"""G12 over two runs: presence and cursors delay, drop and renumber nothing. The work is drawn by name, so it is the same."""

import msgspec

from simulation.scenario.faults import Path
from simulation.scenario.scenario import Workload
from simulation.trace.trace import AcceptedRecord, Delivered, Published, Trace
from simulation.world import run
from tests.simulation.worlds import everything

WORK = Workload(graft_per_s=1.0, prune_per_s=0.5, flag_per_s=0.2, chat_per_s=1.0, cursor_per_s=0.0)


def sequenced(trace: Trace) -> list[Published | AcceptedRecord | Delivered]:
    """The requests and deliveries of each client, in order. Between clients, the order within one instant means nothing."""
    records = [record for record in trace if isinstance(record, Published | AcceptedRecord | Delivered)]
    return sorted(records, key=lambda record: (record.at, record.client))


def test_cursors_change_nothing_about_sequenced_events() -> None:
    # No jitter: it is drawn per frame, and frames of cursors are frames.
    base = everything(workload=WORK)
    groups = tuple(msgspec.structs.replace(group, path=Path(latency_s=group.path.latency_s)) for group in base.groups)
    base = base.replace(groups=groups)
    many = base.replace(workload=msgspec.structs.replace(WORK, cursor_per_s=5.0))
    assert sequenced(run(base).trace) == sequenced(run(many).trace)
