"""How the frozen accounts of `statistics` are drawn up from the parts of a machine."""

from collections.abc import Collection

from reference.protocol.appending import Appending
from reference.protocol.client_desk import Desk, Timer
from reference.protocol.event_log import TRIM_AT, EventLog
from reference.protocol.fan_out import FanOut
from reference.protocol.gathering import Gathering
from reference.protocol.health import HealthRecord
from reference.protocol.links import Links
from reference.protocol.pulse import PINGS_REMEMBERED_MAX, Pulse
from reference.protocol.receiving import Receiving
from reference.protocol.requests import Requests
from reference.protocol.run_desk import OF_CONNECTION, OF_RUN, RunDesk
from reference.protocol.sending import Sending
from reference.protocol.sequencer import Sequencer
from reference.protocol.statistics import ClientStatistics, Held, RunStatistics


def account_of_client(
    desk: Desk, sending: Sending, receiving: Receiving, pulse: Pulse, links: Links, record: HealthRecord
) -> ClientStatistics:
    config, outbox, inbox = desk.config, sending.outbox, receiving.inbox
    return ClientStatistics(
        state=links.state,
        epoch=inbox.epoch,
        last=inbox.last,
        failures=links.reconnector.failures,
        reconnections=record.reconnections,
        publishes_accepted=record.accepted,
        publishes_failed=record.failed,
        limits=sending.limits,
        held=(
            Held("messages in the outbox", len(outbox), config.outbox_messages_max),
            Held("bytes in the outbox", outbox.size_bytes, config.outbox_bytes_max),
            Held("unanswered publishes", outbox.unanswered, config.unanswered_max),
            Held("held events", inbox.held, config.inbox_held_max),
            Held("remembered pings", pulse.remembered, PINGS_REMEMBERED_MAX),
            Held("timers", len(desk.timers), len(Timer)),
        ),
    )


def account_of_run(
    desk: RunDesk,
    log: EventLog,
    sequencer: Sequencer,
    gathering: Gathering,
    appending: Appending,
    fan_out: FanOut,
    requests: Requests,
    connections: Collection[int],
) -> RunStatistics:
    config = desk.config
    sessions, orphans = gathering.count(connections)
    timers_max = OF_RUN + len(OF_CONNECTION) * len(connections) + sessions
    in_memory_max = config.events_kept_max + config.snapshot_interval_events + TRIM_AT + config.appends_pending_max
    return RunStatistics(
        epoch=log.epoch,
        head=log.head,
        oldest=log.oldest,
        snapshot_at=log.snapshot.sequence_number,
        connections=len(connections),
        sessions=sessions,
        current=len(fan_out) - fan_out.behind,
        lagging=fan_out.behind,
        publishers=sequencer.publishers,
        held=(
            Held("connections", len(connections), config.connections_per_run_max),
            Held("readers", len(fan_out), len(connections)),
            Held("polls that wait", requests.waiting, len(connections)),
            Held("sessions", sessions, config.sessions_per_run_max),
            Held("sessions that point to a connection which is gone", orphans, 0),
            Held("events under way to the store", appending.events_under_way, config.appends_pending_max),
            Held("events in memory", log.in_memory, in_memory_max),
            Held("timers", len(desk.timers), timers_max),
            *sequencer.held(),
        ),
    )
