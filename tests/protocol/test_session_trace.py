"""The records of a client's own trace."""

import pytest

from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.policies.fallback import AfterSeconds, Disconnection
from reference.protocol.policies.keepalive import Due, NoPings, Signs
from reference.protocol.policies.reconnect import Attempt
from reference.protocol.session_trace import FORMAT_VERSION, Published, TraceStarted, encode_record, trace_started

CLIENT, SERVER = ClientConfig(tail_timeout_s=3.0), ServerConfig(heartbeat_interval_s=10.0)


class Own:
    """A policy of each kind that cannot be written as a value."""

    notice_max_s, quiet_max_s = 40.0, None

    def wait_s(self, of: Attempt | Disconnection) -> float:
        return 1.0

    def due(self, signs: Signs) -> Due:
        return Due(None, None)


def test_a_trace_begins_with_all_that_judges_it() -> None:
    policies = {"policy": Fixed(seconds=3), "fallback": AfterSeconds(5), "heartbeat": NoPings(60)}
    bounds = {"wait_max_s": 30.25, "round_trip_max_s": 0.5}
    named = {"world": "real", "seed": 3, "run_id": "run-1", "client": CLIENT}
    full = trace_started(**named, server=SERVER, **bounds, **policies, began_ms=7)  # type: ignore[arg-type]
    expected = TraceStarted(
        at=0,
        format_version=FORMAT_VERSION,
        **named,  # type: ignore[arg-type]
        **policies,  # type: ignore[arg-type]
        server=SERVER,
        recovery_bound_s=recovery_bound_s(CLIENT, 30.25, 0.5, heartbeat=NoPings(60)),
        tail_bound_s=13.5,
        notice_bound_s=60.5,
        began_ms=7,
    )
    assert full == expected
    own = trace_started(**named, server=SERVER, **bounds, policy=Own(), fallback=Own(), heartbeat=Own(), keeps="session")  # type: ignore[arg-type]
    assert (own.policy, own.fallback, own.heartbeat, own.server) == (None, None, None, None)
    assert (own.notice_bound_s, own.keeps) == (40.5, "session")
    plain = trace_started(**named, server=SERVER, **bounds)  # type: ignore[arg-type]
    assert (plain.fallback, plain.heartbeat) == (CLIENT.fallback_policy, CLIENT.heartbeat_policy)


@pytest.mark.parametrize(
    ("data", "publish_id", "data_json"),
    [
        ({"publishId": "p-1"}, "p-1", b',"data":{"publishId":"p-1"}'),
        ({"publishId": 7}, None, b',"data":{"publishId":7}'),
        ({"other": "p-1"}, None, b',"data":{"other":"p-1"}'),
        ({}, None, b""),
    ],
)
def test_a_record_is_one_line_that_names_its_kind(data: dict[str, object], publish_id: str | None, data_json: bytes) -> None:
    record = Published(at=5, client="me", ticket=1, event_type="CHAT", data=data)
    assert record.publish_id == publish_id
    line = b'{"record":"published","at":5,"client":"me","ticket":1,"event_type":"CHAT"%s}\n'
    assert encode_record(record) == line % data_json
