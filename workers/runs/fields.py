"""Selected fields of runs in lists, such as `id,name,metrics.sharpe`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from msgspec import inspect

from python_core.language.vocabulary import suggest
from python_core.metrics import RUN_NAMES
from workers.errors import Invalid
from workers.model.runs import HeadlineMetrics, RunSummary

MAX_FIELDS: Final = 100
METRICS: Final = "metrics"

# Names of fields, each with those selected inside it; none: all of it.
Tree = dict[str, "Tree"]


def parse(paths: Sequence[str]) -> Tree:
    """The fields that these paths select.

    Raises:
        Invalid: there are none or too many, or one is unknown.
    """
    if not 1 <= len(paths) <= MAX_FIELDS:
        raise Invalid(f"{len(paths)} fields are selected", where="fields", hint=f"use 1 to {MAX_FIELDS}, separated by commas")
    tree: Tree = {}
    for path in paths:
        _check(path)
        # The metrics are those of the list, whichever others are selected beside them.
        for each in [f"{METRICS}.{name}" for name in HeadlineMetrics.__struct_fields__] if path == METRICS else [path]:
            _add(tree, each.split("."))
    return tree


def pick(value: Any, tree: Tree) -> Any:
    """The selected fields of a value made of dictionaries; null where there are none."""
    if not tree or not isinstance(value, dict):
        return value
    return {name: pick(value.get(name), inner) for name, inner in tree.items()}


def _add(tree: Tree, names: Sequence[str]) -> None:
    first, *rest = names
    if not rest:
        tree[first] = {}
    elif tree.get(first, True):  # else all of it is selected already
        _add(tree.setdefault(first, {}), rest)


def _check(path: str) -> None:
    known: dict[str, Any] | None = _top()
    before = ""
    for name in path.split("."):
        if known is None:  # inside an object with names of the client's, such as params
            return
        if name not in known:
            hint = suggest(before + name, [before + each for each in known]) if known else f"{before[:-1]!r} has no fields"
            raise Invalid(f"unknown field {path!r:.80}", where="fields", hint=hint, code="unknown_field")
        known, before = _inside(known[name]), f"{before}{name}."


@cache
def _top() -> dict[str, Any]:
    """The fields of a run in a list; any metric may be selected."""
    fields = _inside(inspect.type_info(RunSummary)) or {}
    metric = inspect.FloatType()
    return fields | {METRICS: inspect.StructType(HeadlineMetrics, tuple(inspect.Field(name, name, metric) for name in RUN_NAMES))}


def _inside(kind: Any) -> dict[str, Any] | None:
    """The fields inside a type: none in a plain value, None if it may have any."""
    if isinstance(kind, inspect.Metadata):
        return _inside(kind.type)
    if isinstance(kind, inspect.StructType):
        return {field.encode_name: field.type for field in kind.fields}
    if isinstance(kind, inspect.DictType | inspect.AnyType):
        return None
    if not isinstance(kind, inspect.UnionType):
        return {}
    choices = [_inside(each) for each in kind.types]
    return None if None in choices else {name: each for fields in choices if fields for name, each in fields.items()}
