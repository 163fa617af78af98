"""Statements compiled once, their rows handed to the driver in one call.

SQLAlchemy prepares every row of an executemany anew, which costs several times what the database itself takes
for it. On the append path that is the server's limit, so there the statement is compiled when the store
opens, and each column of the rows goes through its type's converter in one sweep. Text, order and conversion
still come from SQLAlchemy, so the tables remain the only place that knows how a value is stored.

    Prepared   one statement, executed for many rows: SQLite does that within the process
    Unnested   one statement for all rows, each column one array: on PostgreSQL every statement is a message and
               a plan to be started, which costs more than the row
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    Dialect,
    Insert,
    Table,
    Update,
    bindparam,
    column,
    func,
    insert,
    select,
    update,
)

Row = dict[str, Any]


class Statement(Protocol):
    """Something that writes rows."""

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Write all of `rows`; nothing happens if there are none. Raises what the driver raises."""


def inserting(table: Table, dialect: Dialect) -> Statement:
    """Insert rows with a value for each column of `table`."""
    if dialect.name != "postgresql":
        return Prepared(insert(table), table.c.keys(), dialect)
    given = _arrays({name: table.c[name] for name in table.c.keys()})  # noqa: SIM118 - a ColumnCollection is no dict
    return Unnested(insert(table).from_select(list(given.c.keys()), select(*given.c)), dialect)


def updating(table: Table, changed: Sequence[str], at: Mapping[str, Column[Any]], dialect: Dialect) -> Statement:
    """Set the columns `changed` in the row where the columns `at` have the values of those names."""
    if dialect.name != "postgresql":
        where = [table_column == bindparam(name) for name, table_column in at.items()]
        return Prepared(update(table).where(*where), changed, dialect)
    given = _arrays({name: table.c[name] for name in changed} | dict(at))
    where = [table_column == given.c[name] for name, table_column in at.items()]
    return Unnested(update(table).where(*where).values({name: given.c[name] for name in changed}), dialect)


def _arrays(columns: Mapping[str, Column[Any]]) -> Any:
    """What comes as one array for each of these names, as a table of its own."""
    parameters = [bindparam(name, type_=ARRAY(like.type)) for name, like in columns.items()]
    names = [column(name, like.type) for name, like in columns.items()]
    return func.unnest(*parameters).table_valued(*names).render_derived(name="given")


class Prepared:
    """`statement` for `dialect`; `columns` are those that it sets, its own parameters come beside them."""

    def __init__(self, statement: Insert | Update, columns: Sequence[str], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(columns))
        self._sql = str(compiled)
        self._is_positional = compiled.positional
        self._names: list[str] = list(compiled.positiontup or compiled.binds)
        self._converters: list[Callable[[Any], Any] | None] = [
            compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self._names
        ]

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """As Statement.execute."""
        if not rows:
            return
        columns: list[list[Any]] = []
        for name, convert in zip(self._names, self._converters, strict=True):
            values = [row[name] for row in rows]
            columns.append(values if convert is None else [convert(value) for value in values])
        in_rows = zip(*columns, strict=True)
        if self._is_positional:
            connection.exec_driver_sql(self._sql, list(in_rows))
        else:
            names = self._names
            connection.exec_driver_sql(self._sql, [dict(zip(names, row, strict=True)) for row in in_rows])


class Unnested:
    """`statement` for PostgreSQL; its parameters are arrays, one for each column of the rows."""

    def __init__(self, statement: Insert | Update, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._converters: dict[str, Callable[[Any], Any] | None] = {
            name: parameter.type.dialect_impl(dialect).bind_processor(dialect) for name, parameter in compiled.binds.items()
        }

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """As Statement.execute."""
        if not rows:
            return
        arrays: dict[str, Any] = {}
        for name, convert in self._converters.items():
            values = [row[name] for row in rows]
            arrays[name] = values if convert is None else convert(values)
        connection.exec_driver_sql(self._sql, arrays)
