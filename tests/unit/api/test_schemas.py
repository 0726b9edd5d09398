"""The schemas of the OpenAPI document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

import python_core as bt
from api import app
from api.http import schemas
from api.http.names import NAMES
from api.http.schemas import references
from tests.support.document import all_schemas, document, fields, nodes, operations, resolved


def test_the_schemas_are_those_that_validate_the_bodies() -> None:
    _, expected = msgspec.json.schema_components(app.schemas(), ref_template="#/components/schemas/{name}")
    assert set(all_schemas()) == {
        *expected,
        *NAMES.schemas,
        "Atr",
        "FractionPerSide",
        "ProfitPerSide",
        "RunCounts",
        "TimeframeFilters",
        "Upload",
    }
    assert all_schemas()["BacktestRequest"]["additionalProperties"] is False
    assert {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1} in all_schemas()["FractionLevel"]["oneOf"]


def leaves(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices of a choice among choices."""
    found = resolved(schema)
    return [leaf for choice in found["oneOf"] for leaf in leaves(choice)] if "oneOf" in found else [found]


def test_objects_and_choices_are_named_and_no_value_fits_two_choices() -> None:
    for name, schema in all_schemas().items():
        for part in nodes(schema.get("properties", {})):
            assert not {"anyOf", "allOf"} & set(part), name
            assert not ("title" in part and part.get("type") == "object"), name
            assert not isinstance(part.get("enum"), list), f"{name}: add the type of {part.get('enum')} to api/http/names.py"
        for part in nodes(schema):
            if isinstance(choices := part.get("oneOf"), list):
                found = [leaf for choice in choices for leaf in leaves(choice)]
                types = [leaf["type"] for leaf in found if leaf["type"] != "object"]
                assert len(set(types)) == len(types), name
                assert not {"integer", "number"} <= set(types), name
                objects = [leaf for leaf in found if leaf["type"] == "object"]
                assert len(objects) < 2 or all(leaf["additionalProperties"] is False for leaf in objects), name
                assert all("oneOf" not in choice for choice in choices), name


def test_every_schema_of_elements_is_an_object_for_generators_of_clients() -> None:
    for node in nodes(all_schemas()):
        assert not isinstance(node.get("items"), bool), node


def requested() -> set[str]:
    """The names of all schemas that bodies of requests refer to."""
    found: set[str] = set()
    waiting = [name for _, operation in operations() for name in references(operation.get("requestBody", {}))]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += references(all_schemas()[name])
    return found


def test_fields_have_no_default_since_generators_take_them_for_always_there() -> None:
    for name, field, value in fields():
        assert "default" not in value, f"{name}.{field}"


def test_bodies_may_leave_out_what_has_a_default_and_responses_have_every_field() -> None:
    structs = {struct.__name__: struct for struct in app.schemas()}
    assert (all_schemas()["Strategy"]["required"], all_schemas()["BacktestRequest"]["required"]) == ([], ["strategy"])
    for name, schema in all_schemas().items():
        if "properties" in schema and name not in requested() and not structs.get(name, bt.Strategy).__struct_config__.omit_defaults:
            assert schema["required"] == list(schema["properties"]), name


def is_named(schema: dict[str, Any]) -> bool:
    """Whether all values are of named schemas, which have examples of their own."""
    choices = [choice for choice in schema.get("oneOf", [schema]) if choice != {"type": "null"}]
    return all("$ref" in choice or ("items" in choice and is_named(choice["items"])) for choice in choices)


def test_every_field_has_a_description_and_an_example() -> None:
    for name, schema in all_schemas().items():
        assert schema["description"], name
    for name, field, value in fields():
        assert value.get("description"), f"{name}.{field}"
        evident = is_named(value) or "boolean" in (value.get("type"), *(choice.get("type") for choice in value.get("oneOf", ())))
        if not evident and value.get("format") != "binary":
            assert value.get("examples"), f"{name}.{field}: give an example, in the struct or in api/http/examples.json"


def test_every_example_of_the_file_is_used() -> None:
    examples = json.loads(Path(schemas.__file__).with_name("examples.json").read_text())
    used = {(name, field) for name, field, value in fields() if value.get("examples") == [examples.get(name, {}).get(field)]}
    assert {(name, field) for name, values in examples.items() for field in values if field != "like"} == used
    assert {values["like"] for values in examples.values() if "like" in values} <= set(examples)


def test_examples_are_valid() -> None:
    for name, field, value in fields():
        for example in value.get("examples", ()):
            schema = {**value, "components": document()["components"]}
            assert jsonschema_rs.is_valid(schema, example), f"{name}.{field}"


UNITS = re.compile(
    r"\bnumbers?\b|\bbars\b|milliseconds|seconds|\bdays\b|\bbytes\b|fraction|money|currency|\bratio\b|\bmultiple\b|\bversion\b"
    r"|HTTP status|process id|calendar (year|month)",
    re.IGNORECASE,
)


def test_every_number_has_a_unit() -> None:
    for name, field, value in fields():
        types = {value.get("type"), value.get("items", {}).get("type"), *(choice.get("type") for choice in value.get("oneOf", ()))}
        if types & {"integer", "number"} and not field.endswith(("_s", "_ms", "_mb", "_bars", "_bytes")):
            assert UNITS.search(value["description"]), f"{name}.{field}: {value['description']}"


def test_every_field_of_the_execution_is_described_with_its_bounds() -> None:
    found = all_schemas()["Execution"]["properties"]
    assert set(found) == set(bt.Execution.__struct_fields__)
    for name, field in found.items():
        for leaf in leaves(field):
            if leaf.get("type") in ("number", "integer"):
                assert {"minimum", "exclusiveMinimum"} & set(leaf), name
            if leaf.get("type") == "array":
                assert leaf["maxItems"], name


LEVELS: list[tuple[Any, bool]] = [
    (None, True),
    (0.02, True),
    ("low[1]", True),
    ({"multiple": 2.0}, True),
    ({"long": 0.02}, True),
    ({"long": {"multiple": 2, "period": 20}, "short": "high"}, True),
    (1.5, False),
    (-0.1, False),
    ("", False),
    ({}, False),
    ({"period": 14}, False),
    ({"multiple": 2.0, "other": 1}, False),
    ({"long": 0.02, "both": 0.02}, False),
    ({"long": {"long": 0.02}}, False),
    ({"long": 1.5}, False),
    ([0.02], False),
]


@pytest.mark.parametrize(("level", "valid"), LEVELS)
def test_the_schema_of_a_level_accepts_what_the_service_does(level: Any, valid: bool) -> None:
    schema = {**all_schemas()["Execution"], "components": document()["components"]}
    body = {"stop_loss": level}
    assert jsonschema_rs.is_valid(schema, body) == valid
    if valid:
        msgspec.convert(body, bt.Execution)
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(body, bt.Execution)


def test_every_integer_parameter_has_both_limits() -> None:
    for path, of_path in document()["paths"].items():
        for method, operation in of_path.items():
            for parameter in operation["parameters"]:
                if parameter["schema"].get("type") == "integer":
                    limits = set(parameter["schema"])
                    assert {"minimum", "exclusiveMinimum"} & limits, (path, method, parameter["name"])
                    assert {"maximum", "exclusiveMaximum"} & limits, (path, method, parameter["name"])
