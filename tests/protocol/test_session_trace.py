"""The records of a client's own trace."""

import pytest

from reference.protocol.session_trace import Published, encode_record


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
