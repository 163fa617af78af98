"""Identification of a publish in a trace: by a field of its data.

The publisher sets it (`publish_data`). Without it the order is still checked, but latencies are unknown.
"""

from reference.protocol.events import Data
from reference.protocol.session_trace import PUBLISH_ID, publish_id_of

__all__ = ["PUBLISH_ID", "publish_data", "publish_id_of"]


def publish_data(publish_id: str, **fields: object) -> Data:
    """Data for an event that can be followed through a trace. `publish_id` must be unique in the run."""
    return {PUBLISH_ID: publish_id, **fields}
