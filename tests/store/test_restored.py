"""A backup that was restored as docs/operations.md says: a new history, which continues from the restored events."""

import re
from pathlib import Path

import pytest

from reference.store import StoreConflict, open_store, parse_url
from reference.store.sql import SqlStore

from .samples import EPOCH, RUN, append

PAGE = Path(__file__).parent.parent.parent / "docs" / "operations.md"


def statement(command: str) -> str:
    """What the page gives that command to carry out."""
    found = re.search(rf'^    {command}\s.*"(UPDATE collaboration_runs .*)"$', PAGE.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(("kind", "command"), [("sqlite", "sqlite3"), ("postgresql", "psql")])
async def test_runs_get_a_new_epoch_and_go_on(kind: str, command: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store_url = f"sqlite:///{tmp_path / 'x.db'}" if kind == "sqlite" else str(request.getfixturevalue("postgres_url"))
    url = parse_url(store_url)
    assert url is not None
    async with open_store(store_url) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1, 3, snapshot_at=2)]) == [None]
        await SqlStore.migrate(url, lambda connection: connection.exec_driver_sql(statement(command)).close())
        stored = await store.load_run(RUN)
        assert stored is not None
        assert re.fullmatch("[0-9a-f]{32}", stored.epoch)
        assert stored.epoch != EPOCH
        (outcome,) = await store.append([append(4)])
        assert isinstance(outcome, StoreConflict)
        assert await store.append([append(4, epoch=stored.epoch)]) == [None]
        again = await store.load_run(RUN)
        assert again is not None
        assert [event.sequence_number for event in again.events] == [1, 2, 3, 4]
