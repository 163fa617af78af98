"""How a publish is followed through a trace: by a field of its data that names it.

Whoever publishes puts it there (`publish_data`). Without it the order is still judged, but latencies are unknown.
"""

from reference.protocol.events import Data

PUBLISH_ID = "publishId"
"""The field of an event's data that names the publish that made it."""


def publish_data(publish_id: str, **fields: object) -> Data:
    """Data for an event that can be followed through a trace. `publish_id` must be unique in the run."""
    return {PUBLISH_ID: publish_id, **fields}


def publish_id_of(data: Data) -> str | None:
    """The publish that made an event, or None if its data do not say."""
    value = data.get(PUBLISH_ID)
    return value if isinstance(value, str) else None
