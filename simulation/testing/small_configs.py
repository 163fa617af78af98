"""Configurations with small limits and short times, so that limits are hit and timers race within a short schedule."""

from hypothesis import strategies as st

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.records import ANSWERS_KEPT


@st.composite
def client_configs(draw: st.DrawFn) -> ClientConfig:
    """Small limits and short times, so that limits are hit and timers race; now and then the widest window that there may be."""
    unanswered_max = draw(st.sampled_from([1, 2, 3, 4, 1, 2, 3, 4, ANSWERS_KEPT]))
    is_wide = unanswered_max == ANSWERS_KEPT
    room, bytes_max = draw(st.integers(4, 8)), draw(st.sampled_from([10_000, 10_000, 10_000, 300]))
    return ClientConfig(
        connect_timeout_s=draw(st.sampled_from([1.0, 3.0])),
        ping_interval_s=draw(st.sampled_from([1.0, 3.0])),
        ping_timeout_s=draw(st.sampled_from([1.0, 2.0])),
        steady_after_s=draw(st.sampled_from([0.5, 3.0])),
        first_spread_s=draw(st.sampled_from([0.0, 1.0])),
        tail_timeout_s=draw(st.sampled_from([0.5, 2.0])),
        fallback_after_failures=draw(st.sampled_from([None, 1, 2])),
        poll_interval_s=draw(st.sampled_from([0.25, 2.0])),
        poll_wait_s=draw(st.sampled_from([0.0, 1.0])),
        request_timeout_s=draw(st.sampled_from([1.0, 3.0])),
        probe_interval_s=draw(st.sampled_from([0.5, 2.0])),
        probe_interval_max_s=4.0,
        outbox_messages_max=room + ANSWERS_KEPT if is_wide else room,
        outbox_bytes_max=30_000 if is_wide else bytes_max,
        outbox_age_max_s=draw(st.sampled_from([600.0, 600.0, 600.0, 2.0])),
        outbox_policy=draw(st.sampled_from(["reject_new", "drop_oldest", "conflate"])),
        unanswered_max=unanswered_max,
        retry_limit=draw(st.sampled_from([3, 0, 1])),
        retry_base_s=0.5,
        inbox_held_max=draw(st.sampled_from([1, 2])),
        ack_interval_s=0.5,
        ack_events=draw(st.integers(1, 3)),
        round_trip_samples_max=3,
        refreshes_token=True,
        start=draw(st.sampled_from(["snapshot", "snapshot", "oldest", "head"])),
    )


@st.composite
def server_configs(draw: st.DrawFn) -> ServerConfig:
    """As above."""
    kept = draw(st.integers(5, 20))
    publishes_per_s = draw(st.sampled_from([200.0, 200.0, 5.0]))
    publish_burst = draw(st.sampled_from([400, 400, 2]))
    return ServerConfig(
        hello_timeout_s=draw(st.sampled_from([2.0, 5.0])),
        heartbeat_interval_s=draw(st.sampled_from([1.0, 3.0])),
        silence_max_s=draw(st.sampled_from([6.0, 10.0])),
        slow_reader_timeout_s=2.0,
        first_spread_s=draw(st.sampled_from([0.0, 1.0])),
        events_kept_max=kept,
        snapshot_interval_events=draw(st.integers(2, min(10, kept))),
        state_entries_max=draw(st.sampled_from([1000, 1000, 1000, 3])),
        batch_events_max=draw(st.integers(1, 4)),
        appends_pending_max=draw(st.sampled_from([kept, kept, 2, 5])),
        unanswered_max=draw(st.integers(1, 4)),
        publishes_per_s=publishes_per_s,
        publish_burst=publish_burst,
        clients_per_run_max=draw(st.sampled_from([100, 100, 100, 100, 2])),
        frames_per_s=draw(st.sampled_from([1000.0, 1000.0, 1000.0, 10.0])) if publishes_per_s == 5.0 else 1000.0,
        frame_burst=2000 if publish_burst == 400 else draw(st.sampled_from([2000, 20])),
        token_grace_s=draw(st.sampled_from([30.0, 1.0])),
        presence_grace_s=draw(st.sampled_from([0.0, 3.0])),
    )
