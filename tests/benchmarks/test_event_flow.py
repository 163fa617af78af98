"""A reader can follow one event through the code: on its way over real sockets it enters few modules."""

from pathlib import Path

from .event_flow import MODULES_MAX, modules_entered


async def test_an_event_enters_few_modules(tmp_path: Path) -> None:
    found = await modules_entered(f"sqlite:///{tmp_path / 'events.sqlite3'}")
    assert {"reference.client.client", "reference.protocol.server.sequencer", "reference.store.sql"} < set(found)
    assert len(found) <= MODULES_MAX, "merge modules that are one idea, or lead the event past one: " + ", ".join(found)
