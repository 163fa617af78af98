"""The address of a server process for the others that share its database."""

import msgspec


class ProcessAddress(msgspec.Struct, frozen=True):
    """One process. A request with `secret` comes from another process of the same database."""

    process_id: int
    host: str
    port: int
    secret: str
