"""A client: it joins over its own access link, carries out its plan, reads all outcomes, and leaves at the end.

It is an ordinary application. It publishes without waiting for answers, so its work continues while its network does not; it
reads all the time; and it does not know the faults.
"""

import logging
from dataclasses import dataclass

import trio

from reference.client import Client, connect
from reference.protocol.errors import SessionClosed
from reference.protocol.events import CURSOR_MOVE
from simulation.processes.recorder import Recorder
from simulation.processes.run_plan import ClientPlan, Parameters
from simulation.random import RandomStreams

SAMPLE_INTERVAL_S = 1.0

# The trace and the watcher tell what happens; without this, hundreds of a client's log lines would go to the terminal of an
# application that has not configured logging.
logging.getLogger("steadywire.client").addHandler(logging.NullHandler())


@dataclass(slots=True)
class Participant:
    """One client and its plan; `client` is None until it has joined."""

    plan: ClientPlan
    parameters: Parameters
    url: str
    client: Client | None = None

    async def perform(self, run_id: str, recorder: Recorder, random_source: RandomStreams, is_over: trio.Event) -> None:
        """Join, work, and stay until `is_over`."""
        name = self.plan.name
        await _sleep_until(recorder, self.plan.joins_at_s)
        recorder.started(name)
        async with connect(
            self.url,
            run_id,
            token=f"dev:{name}",
            client_id=name,
            config=self.parameters.client,
            policy=self.parameters.policy,
            fallback=self.parameters.fallback,
            heartbeat=self.parameters.heartbeat,
            random_source=random_source.of(name),
            tap=recorder.tap_of(name),
        ) as client:
            self.client = client
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, recorder, client)
                nursery.start_soon(self._sample, recorder, client)
                await self._work(recorder, client)
                await is_over.wait()
                nursery.cancel_scope.cancel()

    async def _work(self, recorder: Recorder, client: Client) -> None:
        for move in self.plan.moves:
            await _sleep_until(recorder, move.at_s)
            if move.event_type != CURSOR_MOVE:
                recorder.publish(self.plan.name, client, move.event_type, move.data)
                continue
            try:
                recorder.move_cursor(self.plan.name, client, move.data)
            except SessionClosed:
                return  # the server ended the session; the trace has the reason, and the checkers judge it

    async def _read(self, recorder: Recorder, client: Client) -> None:
        async for delivery in client:
            recorder.delivered(self.plan.name, client, delivery)

    async def _sample(self, recorder: Recorder, client: Client) -> None:
        while True:
            recorder.sample(self.plan.name, client)
            await trio.sleep(SAMPLE_INTERVAL_S)


async def _sleep_until(recorder: Recorder, at_s: float) -> None:
    await trio.sleep(max(0.0, at_s - recorder.now_s))
