"""What SQLite and MySQL say differently, said once: the clock, upserts, the larger of two, many rows at a time."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Dialect,
    Executable,
    Insert,
    Table,
    bindparam,
    func,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.functions import FunctionElement

AMONG = bindparam("among", expanding=True)
LARGEST_STATEMENT = 1_000_000  # characters
MYSQL = ("mysql", "mariadb")
BYTEWISE = {True: "utf8mb4_nopad_bin", False: "utf8mb4_0900_bin"}  # by whether it is MariaDB


class now(FunctionElement[int]):
    """Microseconds since 1970, by the database's clock: the only clock leases are measured with."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **_: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


@compiles(now, *MYSQL)
def _mysql_now(element: now, compiler: Any, **_: Any) -> str:
    return "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"


class greatest(FunctionElement[Any]):
    """The larger of two values of a row."""

    inherit_cache = True

    def __init__(self, first: ColumnElement[Any], second: Any) -> None:
        super().__init__(first, second)
        self.type = first.type


@compiles(greatest, "sqlite")
def _sqlite_greatest(element: greatest, compiler: Any, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"


@compiles(greatest, *MYSQL)
def _mysql_greatest(element: greatest, compiler: Any, **options: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **options)})"


class fresh(ColumnElement[Any]):
    """In an upsert: the value the row was to be inserted with."""

    inherit_cache = True

    def __init__(self, column: Column[Any]) -> None:
        self.column, self.type = column, column.type


@compiles(fresh, "sqlite")
def _sqlite_fresh(element: fresh, compiler: Any, **_: Any) -> str:
    return f"excluded.{compiler.preparer.format_column(element.column)}"


@compiles(fresh, *MYSQL)
def _mysql_fresh(element: fresh, compiler: Any, **_: Any) -> str:
    # The newer spelling, `AS new`, is unknown to MariaDB, and keeps PyMySQL from sending many rows at once.
    return f"VALUES({compiler.preparer.format_column(element.column)})"


class Upsert(Insert):
    """An insert that makes `changes` where the row is there already, if it fulfils the `guard`.

    MySQL makes them from left to right and looks at the guard for each: columns the guard compares come last.
    """

    inherit_cache = False

    def __init__(
        self, table: Table, changes: Sequence[tuple[Column[Any], Any]], guard: ColumnElement[bool] | None = None
    ) -> None:
        super().__init__(table)
        self.changes, self.guard = changes, guard


@compiles(Upsert, "sqlite")
def _sqlite_upsert(element: Upsert, compiler: Any, **options: Any) -> str:
    inserted = compiler.visit_insert(element, **options)
    sets = _assigned(compiler, element.changes)
    keys = ", ".join(compiler.preparer.format_column(column) for column in element.table.primary_key)
    guard = "" if element.guard is None else f" WHERE {compiler.process(element.guard, include_table=True)}"
    return f"{inserted} ON CONFLICT ({keys}) DO UPDATE SET {sets}{guard}"


@compiles(Upsert, *MYSQL)
def _mysql_upsert(element: Upsert, compiler: Any, **options: Any) -> str:
    inserted = compiler.visit_insert(element, **options)
    guard = element.guard
    changes = element.changes if guard is None else [(c, getattr(func, "if")(guard, v, c)) for c, v in element.changes]
    return f"{inserted} ON DUPLICATE KEY UPDATE {_assigned(compiler, changes)}"


def _assigned(compiler: Any, changes: Sequence[tuple[Column[Any], Any]]) -> str:
    return ", ".join(
        f"{compiler.preparer.format_column(column)} = {compiler.process(value, include_table=True)}"
        for column, value in changes
    )


@compiles(CreateTable, *MYSQL)
def _mysql_create_table(element: CreateTable, compiler: Any, **options: Any) -> str:
    """All text compares byte by byte and without padding, so that `A`, `a`, `a ` and `á` are four ids."""
    collation = BYTEWISE[compiler.dialect.is_mariadb]
    created = compiler.visit_create_table(element, **options).rstrip()
    return f"{created} ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4 COLLATE {collation}\n\n"


def execute_bound(connection: Connection, statement: Executable, values: Mapping[str, Any]) -> CursorResult[Any]:
    """A statement that is built once, past SQLAlchemy's work at each execution; it fills in no defaults of columns."""
    text, names, literals = _compiled(statement, connection.dialect, tuple(values))
    found = {**literals, **values}
    return connection.exec_driver_sql(text, tuple([found[name] for name in names]))


def execute_many(connection: Connection, statement: Executable, rows: Sequence[tuple[Any, ...]]) -> None:
    """An insert of many rows, each in the order of the table's columns, past SQLAlchemy's work for each of them."""
    text, names, _ = _compiled(statement, connection.dialect)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(text, list(rows))
        return
    marks = f"({', '.join(['%s'] * len(names))})"
    head, _, tail = text.partition(marks)
    for some in _written(rows):
        connection.exec_driver_sql(f"{head}{', '.join(some)}{tail}")


def _written(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[str]]:
    """Rows as MySQL reads them, as many as fit into one statement. Measured: 4 µs a row, 12 by its driver."""
    known: dict[Any, str] = {None: "NULL"}
    some, size = [], 0
    for row in rows:
        some.append(f"({', '.join([known.get(each) or _literal(known, each) for each in row])})")
        size += len(some[-1])
        if size > LARGEST_STATEMENT:
            yield some
            some, size = [], 0
    if some:
        yield some


def _literal(known: dict[Any, str], value: int | str) -> str:
    """Text that is more than letters and digits as the hexadecimal of its bytes: nothing in it can have a meaning.

    Most of it repeats from row to row.
    """
    if not isinstance(value, str):
        written = str(int(value))
    elif value.isascii() and value.isalnum():
        written = f"'{value}'"
    else:
        written = f"_utf8mb4 x'{value.encode().hex()}'"
    known[value] = written
    return written


def execute_among(
    connection: Connection, statement: Executable, values: Mapping[str, Any], members: Sequence[str]
) -> CursorResult[Any]:
    """A statement with `column.in_(AMONG)`, past SQLAlchemy's work for each member: twice as fast."""
    text, names, literals = _compiled(statement, connection.dialect)
    values = {**literals, **values}
    bound = (members if name == AMONG.key else (values[name],) for name in names)
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(members))
    return connection.exec_driver_sql(text.replace(f"__[POSTCOMPILE_{AMONG.key}]", marks), tuple(chain(*bound)))


@cache
def _compiled(
    statement: Executable, dialect: Dialect, keys: tuple[str, ...] = ()
) -> tuple[str, list[str], dict[str, Any]]:
    columns = {"column_keys": list(keys)} if keys and isinstance(statement, Insert) else {}
    compiled = statement.compile(dialect=dialect, **columns)
    return str(compiled), compiled.positiontup, compiled.params
