"""A statement compiled once, its rows handed to the driver in one call.

SQLAlchemy prepares every row of an executemany anew, which costs several times what the database itself takes
for it. On the append path that is the server's limit, so there the statement is compiled when the store
opens, and each column of the rows goes through its type's converter in one sweep. Text, order and conversion
still come from SQLAlchemy, so the tables remain the only place that knows how a value is stored, and nothing
here knows which database it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Update

Row = dict[str, Any]


class Prepared:
    """`statement` for `dialect`; `columns` are those that it sets, its own parameters come beside them."""

    def __init__(self, statement: Insert | Update | Delete, columns: Sequence[str], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(columns))
        self._sql = str(compiled)
        self._is_positional = compiled.positional
        self._names: list[str] = list(compiled.positiontup or compiled.binds)
        self._converters: list[Callable[[Any], Any] | None] = [
            compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self._names
        ]

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run the statement for each of `rows`; nothing happens if there are none. Raises what the driver
        raises.
        """
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
