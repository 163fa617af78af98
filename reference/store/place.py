"""Where a server process is reached by the others that share its database."""

import msgspec


class ProcessAddress(msgspec.Struct, frozen=True):
    """One process. `secret` shows it that it is one of the others who asks."""

    process_id: int
    host: str
    port: int
    secret: str
