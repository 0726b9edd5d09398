"""Rules that msgspec's schemas can't say, mostly between the fields of a body. The structs check them; here they are JSON Schema.

Numbers that depend on each other, such as the ends of a range, have no such form. Breaking their rules has an error code of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args

from python_core.strategy.filters import FILTERS_SCHEMA
from workers.fetch.requests import FetchKind
from workers.model.run_filter import RunFilter
from workers.model.selection import MARKET_FIELDS

Rule = dict[str, Any]

_WRITTEN: Final[Rule] = {"type": "string", "pattern": "[^ ]"}


def _given(field: str, schema: Rule) -> Rule:
    """The field is there, and is valid against the schema."""
    return {"required": [field], "properties": {field: schema}}


def _absent(fields: Iterable[str]) -> Rule:
    return {"properties": {field: {"type": "null"} for field in fields}}


def _when(field: str, schema: Rule, then: Rule) -> Rule:
    """If a field is valid against the first schema, the object must be valid against the second; one of the `dependentSchemas`."""
    return {field: {"if": {"properties": {field: schema}}, "then": then}}


_SELECTION: Final[Rule] = {
    "if": _given("dataset", {"type": "string"}),
    "then": _absent(MARKET_FIELDS),
    "else": {"required": ["symbol", "timeframe"], "properties": {field: {"type": "string"} for field in ("symbol", "timeframe")}},
    "dependentSchemas": _when("warm_up_from", {"type": "integer"}, _given("start", {"type": "integer"})),
}
_NOT_NULL: Final[Rule] = {"not": {"type": "null"}}

# Keywords of the schema of a field.
FIELDS: Final[dict[str, dict[str, Rule]]] = {
    "FetchRequest": {"kind": {"enum": list(get_args(FetchKind))}},
    "Strategy": {"htf_filters": FILTERS_SCHEMA},
}
# Keywords of the schema of a struct.
RULES: Final[dict[str, Rule]] = {
    "BacktestRequest": _SELECTION,
    "CreateAndRunRequest": _SELECTION,
    "DeadLetterSelection": {
        "if": _given("all", {"const": True}),
        "then": {"properties": {"ids": {"maxItems": 0}}},
        "else": _given("ids", {"minItems": 1}),
    },
    "Execution": {
        "dependentSchemas": _when(
            "flat_outside",
            {"const": True},
            {"if": _given("trading_hours", {"type": "array"}), "else": _given("trading_days", {"type": "array"})},
        )
        | _when("entry_limit", _NOT_NULL, {"properties": {"entry_stop": {"type": "null"}, "fill": {"const": "next_open"}}})
        | _when("entry_stop", _NOT_NULL, {"properties": {"entry_limit": {"type": "null"}, "fill": {"const": "next_open"}}})
        | _when(
            "size",
            {"exclusiveMinimum": 1},
            _given("sizing", {"enum": ["fixed_notional", "fixed_quantity"]}),
        ),
    },
    "FetchRequest": {"dependentSchemas": _when("funding", {"const": True}, _given("kind", {"enum": ["inverse", "linear"]}))},
    "RunSelection": {
        "if": _given("all", {"const": True}),
        "then": _absent(RunFilter.__struct_fields__),
        "else": {"anyOf": [_given(field, _NOT_NULL) for field in RunFilter.__struct_fields__]},
    },
    "ScheduleRequest": {"dependentSchemas": {"fetch": {"properties": {"fetch": _absent(["until"])}}}},
    "Strategy": {"if": {"not": _given("entry_long", _WRITTEN)}, "then": _given("entry_short", _WRITTEN)},
}
