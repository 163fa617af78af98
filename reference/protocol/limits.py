"""Names of the limits that a peer can reach, as used by metrics.

Each is a setting of a server; docs/protocol.md, section 9, and docs/operations.md say what happens at it. A name is a label of a
metric, so the set of names is fixed.
"""

import enum


class Limit(enum.StrEnum):
    """A limit that a peer can reach."""

    # One connection.
    FRAME_BYTES = "frame_bytes"
    FRAME_RATE = "frame_rate"
    HELLO_TIME = "hello_time"
    SILENCE = "silence"
    SLOW_READER = "slow_reader"
    # One client, one user, one run.
    PUBLISH_RATE = "publish_rate"
    UNANSWERED = "unanswered"
    OFFLINE_WINDOW = "offline_window"
    CLIENTS = "clients"
    STATE = "state"
    APPENDS_PENDING = "appends_pending"
    RUN_CONNECTIONS = "run_connections"
    RUN_SESSIONS = "run_sessions"
    USER_CONNECTIONS = "user_connections"
    RUN_CREATIONS = "run_creations"
    REQUEST_RATE = "request_rate"
    UPGRADE_RATE = "upgrade_rate"
    # The server.
    LOADED_RUNS = "loaded_runs"
    DOOR_CONNECTIONS = "door_connections"
    ADDRESS_CONNECTIONS = "address_connections"
    UNAUTHENTICATED = "unauthenticated"
    HEAD_BYTES = "head_bytes"
    HEAD_TIME = "head_time"
    BODY_BYTES = "body_bytes"
    REQUEST_TIME = "request_time"
