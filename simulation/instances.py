"""The instances of the server, and the load balancer before them.

Instances share the run, its machine and the capacity; what an instance has of its own is its connections. So one can be replaced
while the others go on, and that is what they are here for. The balancer gives each new connection to one that is up: to the one
with the fewest, or by a draw for each connection of each client.
"""

from reference.protocol.backoff import Draws
from simulation.scenario import Balancing


class Instances:
    """Numbered from 0."""

    def __init__(self, count: int, balancing: Balancing, draws: Draws) -> None:
        self._balancing = balancing
        self._draws = draws
        self._connections = [0] * count
        self._times_out = [0] * count  # an instance may be taken out by two deploys at once
        self._drawn: dict[str, int] = {}

    @property
    def count(self) -> int:
        return len(self._connections)

    @property
    def connections(self) -> tuple[int, ...]:
        """Of each."""
        return tuple(self._connections)

    def choose(self, client: str) -> int | None:
        """The instance for a new connection of this client; None: none is up."""
        if len(self._connections) == 1:
            return None if self._times_out[0] else 0
        up = [number for number, times in enumerate(self._times_out) if not times]
        if not up:
            return None
        if self._balancing == "least_connections":
            return min(up, key=self._connections.__getitem__)
        index = self._drawn.get(client, 0)
        self._drawn[client] = index + 1
        return up[int(len(up) * self._draws.uniform(f"balance/{client}", index))]

    def took(self, instance: int) -> None:
        self._connections[instance] += 1

    def gave_back(self, instance: int) -> None:
        self._connections[instance] -= 1

    def take_out(self, instance: int) -> None:
        """It takes no new connections, until it was put back as often as it was taken out."""
        self._times_out[instance] += 1

    def put_back(self, instance: int) -> None:
        self._times_out[instance] -= 1

    def is_up(self, instance: int) -> bool:
        return not self._times_out[instance]
