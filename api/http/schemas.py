"""The schemas of the document: those with which msgspec validates bodies, in a form that generators of clients read well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from api.http.rules import FIELDS, RULES
from workers.service.operations import client_text

Schema = dict[str, Any]

REF: Final = "#/components/schemas/"
NULL: Final[Schema] = {"type": "null"}
# Keywords that say something about a value without restricting it.
_ANNOTATIONS: Final = ("title", "description", "default", "examples", "x-enum-varnames")


class Names:
    """The names of types that have none in Python, such as `Literal`s: generated clients name their types by them."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        bare, _ = msgspec.json.schema_components(types.values(), ref_template=f"{REF}{{name}}")
        self.schemas: dict[str, Schema] = {}
        self._by_schema: dict[str, str] = {}
        # From the shortest on, as the longer ones refer to them.
        for name, schema in sorted(zip(types, bare, strict=True), key=lambda each: len(_identity(each[1]))):
            self.schemas[name] = _each(tidy(schema, {}), self.refer)
            self._by_schema[_identity(self.schemas[name])] = name

    def refer(self, node: Any) -> Any:
        """The node with references to the named schemas in it."""
        if isinstance(node, list):
            return [self.refer(each) for each in node]
        if not isinstance(node, dict):
            return node
        found = _each(node, self.refer)
        for schema in (found, without_null(found)):
            if (name := self._by_schema.get(_identity(schema))) is not None:
                known, reference = self.schemas[name], {"$ref": f"{REF}{name}"}
                annotations = {key: value for key, value in found.items() if key in _ANNOTATIONS and value != known.get(key)}
                return annotations | (reference if schema is found else {"oneOf": [reference, NULL]})
        return found


def component_schemas(structs: Sequence[type[msgspec.Struct]], names: Names, bodies: Iterable[str]) -> dict[str, Schema]:
    """The schemas of the document. `bodies` are the names of those of request bodies; what these refer to may be left out in responses, too.

    Litestar's own schemas omit limits in unions and that unknown fields are refused.
    """
    _, raw = msgspec.json.schema_components(structs, ref_template=f"{REF}{{name}}")
    for name, fields in FIELDS.items():
        for field, keywords in fields.items():
            raw[name]["properties"][field] |= keywords
    parts: dict[str, Schema] = {}
    schemas = {name: _tidied(schema, parts) for name, schema in raw.items()}
    schemas = {name: _each(schema, names.refer) for name, schema in (schemas | parts).items()}
    schemas |= {name: dict(schema) for name, schema in names.schemas.items()}
    for schema in schemas.values():
        schema.pop("default", None)
    requested = _reachable(schemas, bodies)
    omit_defaults = {struct.__name__ for struct in structs if struct.__struct_config__.omit_defaults}
    for name, schema in schemas.items():
        schema["description"] = client_text(schema.get("description", ""))
        for field, value in schema.get("properties", {}).items():
            _annotate(value, schemas, _example(name, field), in_request=name in requested)
        schema |= RULES.get(name, {})
        if "properties" in schema and name not in requested | omit_defaults:
            schema["required"] = list(schema["properties"])
    return dict(sorted(schemas.items()))


def tidy(node: Any, parts: dict[str, Schema]) -> Any:
    """The node in a form that generators read well; objects with a title inside it are moved to `parts`."""
    if isinstance(node, list):
        return [tidy(each, parts) for each in node]
    if not isinstance(node, dict):
        return node
    found = _tidied(node, parts)
    if found.get("type") != "object" or not isinstance(title := found.get("title"), str):
        return found
    parts[title] = found
    return {"$ref": f"{REF}{title}"}


def without_null(schema: Schema) -> Schema:
    """The schema without the choice of null; the same schema if it has none."""
    choices = schema.get("oneOf", [])
    if NULL not in choices:
        return schema
    others = [choice for choice in choices if choice != NULL]
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    return others[0] | rest if len(others) == 1 else rest | {"oneOf": others}


def references(node: Any) -> Iterator[str]:
    """The names of all schemas that a node refers to."""
    if isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
        yield reference.removeprefix(REF)
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(value)


def _tidied(schema: Schema, parts: dict[str, Schema]) -> Schema:
    found = _each(schema, lambda value: tidy(value, parts))
    if found.get("items") is False:
        # `maxItems` already says so, and some generators refuse a schema that is not an object.
        types = {part.get("type") for part in found["prefixItems"]}
        found["items"] = found["prefixItems"][0] if len(types) != 1 or None in types else {"type": types.pop()}
    if found.get("type") == "array":
        found.setdefault("items", {})
    if isinstance(values := found.get("enum"), list):
        found |= {"type": "string", "enum": [value for value in values if value is not None]}
        if None in values:
            found = {"oneOf": [found, NULL]}
    if isinstance(choices := found.pop("anyOf", None) or found.get("oneOf"), list):
        found |= _one_of(choices, found)
    return found


def _each(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """The schema with a change of each schema in it."""
    found = {key: value if key in ("default", "examples", "properties") else change(value) for key, value in schema.items()}
    if "properties" in found:
        found["properties"] = {name: change(value) for name, value in found["properties"].items()}
    return found


def _one_of(choices: list[Schema], node: Schema) -> Schema:
    """A choice as `oneOf`, which generators turn into unions; no value fits two choices. What is said of the only one is said of the choice."""
    flat = [choice for each in choices for choice in (each["oneOf"] if set(each) <= {"oneOf", "type"} and "oneOf" in each else [each])]
    if any(choice.get("type") == "number" for choice in flat):
        flat = [choice for choice in flat if choice != {"type": "integer"}]
    annotations: Schema = {}
    if len(values := [choice for choice in flat if choice != NULL]) == 1:
        annotations = {key: value for key, value in values[0].items() if key in _ANNOTATIONS and key not in node}
        flat = [{key: value for key, value in choice.items() if key not in _ANNOTATIONS} for choice in flat]
    return annotations | (flat[0] if len(flat) == 1 else {"oneOf": flat})


def _annotate(field: Schema, schemas: dict[str, Schema], example: Any, *, in_request: bool) -> None:
    """Say in words what is the default of a field, and give an example; a field without a description has that of its type.

    With `default`, generators take a field for one that is always there, which is wrong in requests and needless in responses.
    """
    if "description" not in field and "$ref" in field:
        field["description"] = schemas[next(references(field))].get("description", "").partition("\n")[0]
    default = field.pop("default", None)
    if default not in (None, "") and not isinstance(default, tuple | dict):
        if in_request and "default:" not in field.get("description", ""):
            text = f"`{default}`" if isinstance(default, str) else json.dumps(default)
            field["description"] = f"{field.get('description', '')} Default: {text.removesuffix('.0')}.".strip()
        if example is None and "$ref" not in field and field.get("type") != "boolean":
            example = default
    if example is not None:
        field.setdefault("examples", [example])


def _identity(schema: Schema) -> str:
    """A text that schemas share if the same values are valid."""
    bare = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    for key in ("enum", "oneOf"):
        if isinstance(values := bare.get(key), list):
            bare[key] = sorted(values, key=json.dumps)
    return json.dumps(bare, sort_keys=True)


def _reachable(schemas: dict[str, Schema], names: Iterable[str]) -> set[str]:
    """These schemas and all that they refer to."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += references(schemas[name])
    return found


def _example(schema: str, field: str) -> Any:
    """The example of a field, or of the field of that name in the schema that this one is `like`."""
    examples = _examples().get(schema, {})
    return _example(examples["like"], field) if field not in examples and "like" in examples else examples.get(field)


@cache
def _examples() -> dict[str, dict[str, Any]]:
    """An example of each field, by schema and field; all are of one run."""
    examples: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("examples.json").read_bytes())
    return examples
