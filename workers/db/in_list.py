"""`column IN list` with the list as one parameter, so that lists of any length are one statement, compiled and prepared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _List(sa.types.TypeDecorator[Sequence[Any]]):
    """A list of texts or numbers: an array in PostgreSQL, JSON in SQLite."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, item: type[sa.Text] | type[sa.BigInteger]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        return dialect.type_descriptor(postgresql.ARRAY(self.item()) if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: sa.Dialect) -> Any:
        return value if dialect.name == "postgresql" else msgspec.json.encode(value).decode()


class _InList(FunctionElement[bool]):
    inherit_cache = True
    # Otherwise SQLAlchemy compares it with 1 on SQLite, which then uses no index.
    _is_implicitly_boolean = True
    type = sa.Boolean()
    name = "in_list"


def in_list(column: Any, parameter: str, item: type[sa.Text] | type[sa.BigInteger] = sa.Text) -> sa.ColumnElement[bool]:
    """Whether a value is in the list passed as `parameter` when the statement is executed."""
    return _InList(column, sa.bindparam(parameter, type_=_List(item)))


@compiles(_InList, "postgresql")
def _postgresql(element: _InList, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({texts})"


@compiles(_InList, "sqlite")
def _sqlite(element: _InList, compiler: SQLCompiler, **options: Any) -> str:
    column, texts = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"
