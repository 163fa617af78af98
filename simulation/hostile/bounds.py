"""G7: everything that a machine keeps stays within its limit. Asked of every machine after every step."""

from collections.abc import Callable

from reference.protocol.client_desk import Timer
from reference.protocol.client_session import ClientSession
from reference.protocol.event_log import _TRIM_AT
from reference.protocol.run import Run
from reference.protocol.run_desk import OF_CONNECTION
from reference.protocol.sequencer import ANSWERS_KEPT

Note = Callable[[str, str], None]


def check_client(session: ClientSession, note: Note) -> None:
    """What one client session keeps."""
    config = session.config
    outbox = session._sending.outbox
    _within(note, "messages in the outbox", len(outbox), config.outbox_messages_max)
    _within(note, "bytes in the outbox", outbox.size_bytes, config.outbox_bytes_max)
    kept = [*outbox._unanswered.values(), *outbox._queue.values()]
    if outbox.size_bytes != sum(message.size_bytes for message in kept):
        note("G7", f"the outbox counts {outbox.size_bytes} bytes for {len(kept)} messages")
    _within(note, "unanswered publishes", outbox.unanswered, config.unanswered_max)
    _within(note, "held events", session._receiving.inbox.held, config.inbox_held_max)
    _within(note, "timers of a client", len(session._timers), len(Timer))
    _within(note, "entries in a client's timer heap", len(session._timers._heap), 64 * len(Timer))
    _within(note, "remembered pings", len(session._pulse._sent_at), 8)


def check_run(run: Run, note: Note) -> None:
    """What one run keeps."""
    config = run.config
    sequencer = run._sequencer
    _within(note, "connections", run.connections, config.connections_per_run_max)
    _within(note, "pending events", sequencer.events_pending, config.appends_pending_max)
    _within(note, "clients that published", len(sequencer._publishers), config.clients_per_run_max)
    for publisher in sequencer._publishers.values():
        _within(note, "answers kept for a client", len(publisher.answers), ANSWERS_KEPT)
        _within(note, "pending publishes of a client", len(publisher.pending), config.unanswered_max)
        for pending in publisher.pending.values():
            _within(note, "connections that wait for one answer", len(pending.reply_to), config.connections_per_run_max)
    _within(note, "readers", len(run._fan_out), run.connections)
    kept_max = config.events_kept_max + config.snapshot_interval_events + _TRIM_AT + config.appends_pending_max
    _within(note, "events in memory", len(run._log._events), kept_max)
    _within(note, "polls that wait", len(run._requests._waiting), run.connections)
    members = run._gathering._members._sessions
    timers_max = 3 + len(OF_CONNECTION) * run.connections + len(members)
    _within(note, "timers of a run", len(run._desk.timers), timers_max)
    known = {session.connection_id for session in members.values()} - {None}
    if not known <= set(run._connections):
        note("G7", f"sessions point to connections that are gone: {known - set(run._connections)}")


def _within(note: Note, what: str, value: int, limit: int) -> None:
    if value > limit:
        note("G7", f"{what}: {value}; the limit is {limit}")
