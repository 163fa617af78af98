"""`steadywire migrate`: creates or removes the tables of a store, or compares them with those of this program.

0   done; for `check`: nothing differs
1   `check` only: something differs, one line for each
2   it could not be done
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from reference.protocol.errors import SteadywireError
from reference.store import hide_password, parse_url

DIFFERS = 1
CANNOT = 2
T = TypeVar("T")


def migrate_command(what: str, store: str, *, is_sure: bool = False) -> int:
    """Run `up`, `down` or `check` on the store with that URL; returns the exit code."""
    from reference.store import migrations

    place = hide_password(store)
    try:
        url = parse_url(store)
        if url is None:
            print(f"steadywire migrate: {place} has no tables; name an SQLite file or a PostgreSQL database", file=sys.stderr)
            return CANNOT
        if what != "up" and url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            print(f"steadywire migrate: {place}: there is no such file", file=sys.stderr)
            return CANNOT
        from reference.store.sql import SqlStore

        def run(work: Callable[..., T]) -> T:
            migrate = functools.partial(SqlStore.migrate, url, work, is_alone=what != "check")
            return trio.run(migrate, restrict_keyboard_interrupt_to_checkpoints=True)

        match what:
            case "up":
                run(migrations.upgrade)
                print(f"{place}: the tables are those of this program")
            case "down":
                if not is_sure:
                    sentence = "every run and every event in it will be deleted; say --yes if that is what you want"
                    print(f"steadywire migrate: {place}: {sentence}", file=sys.stderr)
                    return CANNOT
                run(migrations.downgrade)
                print(f"{place}: the tables are gone")
            case _:
                differences = run(migrations.differences)
                for line in differences or ["the tables are those of this program"]:
                    print(f"{place}: {line}")
                return DIFFERS if differences else 0
    except SteadywireError as error:
        print(f"steadywire migrate: {error}", file=sys.stderr)
        return CANNOT
    return 0
