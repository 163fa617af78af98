"""What simulated users do: Poisson processes, one for each client and event type.

The n-th event of a stream and its time are draws of (client, type, n), so they are the same whatever the network does: two
parameter sets are compared on the very same work.
"""

import math

from reference.protocol.events import CHAT, CURSOR_MOVE, FLAG, GRAFT, PRUNE, Data
from reference.protocol.timers import ns
from simulation.client_host import ClientHost
from simulation.clock import ARRIVAL, Call, Clock
from simulation.draws import EntityDraws
from simulation.scenario import Workload
from simulation.trace import publish_data

GRAFT_POSITIONS = 50
PRUNE_STEPS = 200


class Work:
    """What one client does, from `start` on until `until`, in ns."""

    def __init__(self, clock: Clock, client: ClientHost, workload: Workload, draws: EntityDraws, until: int) -> None:
        self._clock = clock
        self._client = client
        self._draws = draws
        self._until = until
        self._published = 0
        self._rates = {
            GRAFT: workload.graft_per_s,
            PRUNE: workload.prune_per_s,
            FLAG: workload.flag_per_s,
            CHAT: workload.chat_per_s,
            CURSOR_MOVE: workload.cursor_per_s,
        }

    def start(self) -> None:
        for event_type, per_s in self._rates.items():
            if per_s > 0:
                self._schedule(event_type, 0, self._clock.now)

    def _schedule(self, event_type: str, index: int, after: int) -> None:
        wait_s = -math.log1p(-self._draws.uniform(f"work/{event_type}", index)) / self._rates[event_type]
        at = after + ns(wait_s)
        if at < self._until:
            Call(self._clock, at, ARRIVAL, self._do, (event_type, index))

    def _do(self, call: Call) -> None:
        event_type, index = call.argument
        self._schedule(event_type, index + 1, self._clock.now)
        if event_type == CURSOR_MOVE:
            self._client.move_cursor(self._cursor(index))
        else:
            self._client.publish(event_type, self._data(event_type, index))

    def _data(self, event_type: str, index: int) -> Data:
        self._published += 1
        publish_id = f"{self._client.name}:{self._published}"
        choice = self._draws.uniform(f"what/{event_type}", index)
        match event_type:
            case "GRAFT":
                return publish_data(publish_id, position=f"p{int(choice * GRAFT_POSITIONS)}")
            case "PRUNE":
                return publish_data(publish_id, step=f"s{int(choice * PRUNE_STEPS)}")
            case _:
                return publish_data(publish_id, note=f"n{int(choice * 1000)}")

    def _cursor(self, index: int) -> Data:
        x, y = (self._draws.uniform(axis, index) for axis in ("x", "y"))
        return {"x": int(x * 1920), "y": int(y * 1080), "move": index}
