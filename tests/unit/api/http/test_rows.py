"""Lists as tables."""

from __future__ import annotations

import io
from typing import Annotated, Any, Literal

import msgspec
import polars
import pytest
from msgspec import Meta

import workers
from api.http import rows
from python_core import Strategy
from workers.data import table_files
from workers.model.clock import LAST_MS, TimeMs


class Inner(msgspec.Struct, frozen=True):
    count: int
    share: float | None = None


class Item(msgspec.Struct, frozen=True):
    name: str
    at: TimeMs | None
    until: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="When it ends, UTC epoch milliseconds.")]
    side: Literal["long", "short"]
    inner: Inner | None
    either: int | str
    number: int | float
    names: tuple[str, ...] = ()
    flag: bool = False


class Page(msgspec.Struct, frozen=True):
    items: tuple[Item, ...]


ITEMS = (
    Item(
        name="=1+1", at=1_704_067_200_000, until=None, side="long", inner=Inner(count=3, share=0.5), either="a", number=1, names=("x", "y")
    ),
    Item(name="ok", at=None, until=1_704_067_200_123, side="short", inner=None, either=7, number=0.1, flag=True),
)


def test_objects_become_columns_times_become_dates_and_all_else_json() -> None:
    table = rows.to_frame(ITEMS, Item)
    assert table.schema == {
        "name": polars.String,
        "at": polars.Datetime("ms", "UTC"),
        "until": polars.Datetime("ms", "UTC"),
        "side": polars.String,
        "inner.count": polars.Int64,
        "inner.share": polars.Float64,
        "either": polars.String,
        "number": polars.Float64,
        "names": polars.String,
        "flag": polars.Boolean,
    }
    assert table["inner.count"].to_list() == [3, None]
    assert table["either"].to_list() == ['"a"', "7"]
    assert table["names"].to_list() == ['["x","y"]', "[]"]
    assert rows.to_frame((), Item).schema == table.schema


def test_csv_suits_spreadsheets() -> None:
    file = io.BytesIO()
    table_files.write(rows.to_table(Page(ITEMS)), "csv", file)
    first, second, third = file.getvalue().decode().splitlines()
    assert first == "name,at,until,side,inner.count,inner.share,either,number,names,flag"
    assert second == """'=1+1,2024-01-01 00:00:00.000,,long,3,0.5,\"\"\"a\"\"\",1.0,"[""x"",""y""]",false"""
    assert third == "ok,,2024-01-01 00:00:00.123,short,,,7,0.1,[],true"


def test_the_last_time_that_a_request_may_have_is_written() -> None:
    file = io.BytesIO()
    table_files.write(rows.to_table(Page((msgspec.structs.replace(ITEMS[0], at=LAST_MS),))), "csv", file)
    assert "9999-12-31 23:59:59.999" in file.getvalue().decode()


class DictionaryPage(msgspec.Struct, frozen=True):
    items: tuple[dict[str, Any], ...]


FIELDS = ("name", "at", "inner", "either", "free.x", "free.y", "free", "metrics.calmar")


def test_selected_fields_have_the_types_of_the_whole_and_others_those_of_their_values() -> None:
    items = (
        {"name": "a", "at": 1_704_067_200_000, "inner": {"count": 3}, "either": "a", "free": {"x": 1, "y": [1]}},
        {"name": "b", "at": None, "inner": None, "either": 7, "free": {"x": 0.5}},
    )
    table = rows.to_table(DictionaryPage(items), Item, FIELDS)
    assert table.columns == ["name", "at", "inner.count", "inner.share", "either", "free.x", "free.y", "free", "metrics.calmar"]
    assert table.schema["at"] == polars.Datetime("ms", "UTC")
    assert table["inner.count"].to_list() == [3, None]
    assert table["either"].to_list() == ['"a"', "7"]
    assert table["free.x"].to_list() == [1.0, 0.5]
    assert table["free.y"].to_list() == ["[1]", None]
    assert table["free"].to_list() == ['{"x":1,"y":[1]}', '{"x":0.5}']


def test_a_page_without_values_has_the_columns_of_others() -> None:
    fields = ("at", "inner", "metrics.calmar")
    whole = rows.to_table(DictionaryPage(({"at": 1, "inner": {"count": 1, "share": 0.5}, "metrics": {"calmar": 1.5}},)), Item, fields)
    for items in ((), ({"at": None, "inner": None, "metrics": None},)):
        assert rows.to_table(DictionaryPage(items), Item, fields).schema == whole.schema


@pytest.mark.parametrize("item", [workers.Dataset, workers.StoredStrategy, workers.Run, workers.Fetch, workers.Schedule, workers.ApiKey])
def test_every_time_of_a_list_is_a_date(item: type[msgspec.Struct]) -> None:
    for column in (column for column in rows.columns(item) if column.kind == "Int64"):
        is_called_time = column.path[-1].endswith("_at") or column.path[-1] in ("start", "end", "since", "until")
        assert column.is_time == is_called_time, column.name


def test_a_strategy_is_its_fields() -> None:
    names = {column.name for column in rows.columns(workers.StoredStrategy)}
    assert {f"strategy.{name}" for name in Strategy.__struct_fields__} <= names
