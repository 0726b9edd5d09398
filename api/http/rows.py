"""Lists as tables: a row for each item, with columns that follow from the type of the items, so that an empty list has the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin

import msgspec

from workers.data import table_files

if TYPE_CHECKING:
    import polars

Kind: TypeAlias = Literal["Boolean", "Int64", "Float64", "String"]
_KINDS: Final[dict[Any, Kind]] = {bool: "Boolean", int: "Int64", float: "Float64"}
# As every field that is a time says in its description.
_TIME: Final = "UTC epoch milliseconds"


class Column(NamedTuple):
    """A column, the fields that lead to its values, and their type, a class of polars. `is_json` if they are no texts yet."""

    name: str
    path: tuple[str, ...]
    kind: Kind
    is_json: bool = False
    is_time: bool = False

    def value(self, item: Any) -> Any:
        for name in self.path:
            item = getattr(item, name, None)
        return item if item is None or not self.is_json else msgspec.json.encode(item).decode()


def to_table(page: Any, item_type: type[msgspec.Struct] | None = None, fields: Sequence[str] = ()) -> polars.DataFrame:
    """The `items` of a page as a table. If they are dictionaries, they have these `fields` of `item_type`, as paths such as `metrics.sharpe`."""
    if item_type is None:
        return to_frame(page.items, _item_type(page.__class__))
    return to_frame(page.items, item_type) if not fields else _of_dictionaries(page.items, item_type, fields)


def _of_dictionaries(items: Sequence[dict[str, Any]], item_type: type[msgspec.Struct], fields: Sequence[str]) -> polars.DataFrame:
    import polars

    known = columns(item_type)
    found: dict[str, Column] = {}
    for field in fields:
        inside = [column for column in known if f"{column.name}.".startswith(f"{field}.")]
        path = tuple(field.split("."))
        found |= {column.name: column for column in inside or [_guessed(path, [_inside(item, path) for item in items])]}
    series = []
    for name, column in found.items():
        values = [_inside(item, column.path) for item in items]
        texts = [value if value is None or not column.is_json else msgspec.json.encode(value).decode() for value in values]
        series.append(polars.Series(name, texts, dtype=getattr(polars, column.kind)))
    return polars.DataFrame(series).with_columns(table_files.times(*[name for name, column in found.items() if column.is_time]))


def _inside(item: Any, path: Sequence[str]) -> Any:
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return item


def _guessed(path: tuple[str, ...], values: Sequence[Any]) -> Column:
    """The column of a field whose type is not declared: a metric, or by its values numbers, texts, or else JSON."""
    types = {type(value) for value in values} - {NoneType}
    is_number = path[0] == "metrics" or (bool(types) and types <= {int, float})
    return Column(".".join(path), path, "Float64" if is_number else "String", is_json=not is_number and types != {str})


@cache
def _item_type(page_type: Any) -> Any:
    (items,) = (field.type for field in msgspec.structs.fields(page_type) if field.name == "items")
    item_type = get_args(_unwrapped(items)[0])[0]
    return get_origin(item_type) or item_type


def to_frame(items: Sequence[msgspec.Struct], item_type: type[msgspec.Struct]) -> polars.DataFrame:
    """A table of the items. A struct inside them becomes columns such as `request.dataset`; arrays, and what may be of several types, are JSON."""
    import polars

    found = columns(item_type)
    values = {
        column.name: polars.Series([column.value(item) for item in items], dtype=getattr(polars, column.kind), strict=True)
        for column in found
    }
    return polars.DataFrame(values).with_columns(table_files.times(*[column.name for column in found if column.is_time]))


@cache
def columns(item_type: type[msgspec.Struct]) -> tuple[Column, ...]:
    return tuple(_columns(item_type, ()))


def _columns(struct: type[msgspec.Struct], path: tuple[str, ...]) -> Iterator[Column]:
    for field in msgspec.structs.fields(struct):
        inside = (*path, field.name)
        inner, descriptions = _unwrapped(field.type)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _columns(inner, inside)
            continue
        kind: Kind = _KINDS.get(inner, "String")
        is_text = (isinstance(inner, type) and issubclass(inner, str)) or get_origin(inner) is Literal
        is_time = kind == "Int64" and any(_TIME in description for description in descriptions)
        yield Column(".".join(inside), inside, kind, is_json=kind == "String" and not is_text, is_time=is_time)


def _unwrapped(annotation: Any) -> tuple[Any, list[str]]:
    """A type without its annotations and its None, and the descriptions among these annotations."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        unwrapped, descriptions = _unwrapped(inner)
        return unwrapped, [*descriptions, *(note.description for note in notes if isinstance(note, msgspec.Meta) and note.description)]
    if get_origin(annotation) in (Union, UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not NoneType]
        if len(choices) == 1:
            return _unwrapped(choices[0])
        return (float, []) if set(choices) == {int, float} else (annotation, [])
    return annotation, []
