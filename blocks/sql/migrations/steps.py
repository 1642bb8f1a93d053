"""What revisions are made of. Each step looks first: MySQL keeps those that came before an interruption."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

NO_INDEXES: Mapping[str, Sequence[str]] = {}


def add_table(
    name: str,
    *columns: sa.Column,
    key: Sequence[str],
    indexes: Mapping[str, Sequence[str]] = NO_INDEXES,
    **options: Any,
) -> None:
    if not _found().has_table(name):
        op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key), **options)
    for index, of in indexes.items():
        add_index(index, name, of)


def add_column(table: str, column: sa.Column) -> None:
    if column.name not in {each["name"] for each in _found().get_columns(table)}:
        op.add_column(table, column)


def add_index(name: str, table: str, columns: Sequence[str]) -> None:
    if name not in {index["name"] for index in _found().get_indexes(table)}:
        op.create_index(name, table, columns)


def _found() -> sa.Inspector:
    """What is there now: an inspector remembers what it has seen."""
    return sa.inspect(op.get_bind())
