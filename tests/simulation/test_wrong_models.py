"""Systems that are wrong on purpose: the violation is found in the clients' records, and named."""

from collections.abc import Callable

import msgspec
import pytest

from reference.protocol.client.session import ClientSession
from reference.protocol.records import Append, StoredRun
from simulation.hosts.store import SimulatedStore
from simulation.scenario.faults import Reset, ServerRestart, Stall
from simulation.scenario.scenario import Scenario
from simulation.world import Result, World
from tests.simulation.worlds import everything


class AcknowledgesBeforeStoring(SimulatedStore):
    """Says that a batch is durable as soon as it has it, and writes it when the next one comes."""

    _waiting: tuple[Append, ...] = ()

    def commit(self, append: Append, on_durable: Callable[[Append], None]) -> None:
        self._waiting = (*self._waiting, append)
        if len(self._waiting) > 3:
            self._keep(self._waiting[0])
            self._waiting = self._waiting[1:]
        nothing = msgspec.structs.replace(append, entries=())
        super().commit(nothing, lambda _: on_durable(append))

    def crash(self) -> None:
        super().crash()
        self._waiting = ()


class ForgetsWhoSaidWhat(SimulatedStore):
    """Keeps the events, and not the numbers that their senders gave them: after a restart a copy is new."""

    def load(self) -> StoredRun:
        self._position.clients.clear()
        return super().load()


def run_with(store_type: type[SimulatedStore], scenario: Scenario) -> Result:
    return World(scenario, store_type=store_type).run()


def violated(result: Result) -> set[str]:
    return {name for name, verdict in result.verdicts.items() if verdict.violated}


def test_acknowledging_before_storing_is_found() -> None:
    result = run_with(AcknowledgesBeforeStoring, everything())
    assert not result.is_ok
    assert {"G3", "G11"} <= violated(result)
    assert result.counts.lost > 0


def test_forgetting_the_dedupe_memory_is_found() -> None:
    # Answers are held back and then lost with their connections, so the clients send again what is stored already.
    scenario = everything(faults=(Stall(at_s=17, duration_s=4), Reset(at_s=19.9), ServerRestart(at_s=20, duration_s=1)))
    assert "G3" in violated(run_with(ForgetsWhoSaidWhat, scenario))


def test_forgetting_the_cursor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = ClientSession.connection_opened

    def forgetful(self: ClientSession, connection_id: int, now: int) -> None:
        inbox = self._delivery.inbox
        if inbox.epoch is not None:
            inbox.last += 1  # believes that it has seen one event more
        receive(self, connection_id, now)

    monkeypatch.setattr(ClientSession, "connection_opened", forgetful)
    scenario = everything(faults=(Reset(at_s=15),))
    assert {"G1", "G2"} <= violated(World(scenario).run())
