"""JSON bodies: decoded strictly. An error names the first wrong value, and every field that is unknown or missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

import msgspec

import workers
from api.http.problems import (
    MAX_LISTED,
    PATH_SUFFIX,
    FieldError,
    ProblemError,
    describe,
    invalid_fields,
    permitted_values,
    shortened,
    unknown,
)
from python_core import BarstormError

# Elements of a list that are searched for unknown and missing fields.
MAX_ELEMENTS: Final = 1_000
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# What our structs raise: "field: message; hint".
_FIELD_MESSAGE: Final = re.compile(r"(?P<field>[\w.\[\]]+): (?P<message>.*?)(; (?P<hint>.*))?", re.DOTALL)
_UNKNOWN_OR_MISSING: Final = re.compile(r"Object (contains unknown|missing required) field `(?P<name>.*?)`( - at `|$)", re.DOTALL)


def decode_body(body: bytes | msgspec.Raw, expected: Any) -> Any:
    """The JSON text as a value of the expected type.

    Raises:
        ProblemError: it is not JSON, or not of that type.
    """
    try:
        return msgspec.json.decode(body, type=expected)
    except msgspec.ValidationError as error:
        try:
            value = msgspec.json.decode(body)
        except _NOT_JSON as malformed:  # behind the first wrong value
            raise _not_json(malformed) from malformed
        if "got `float`" not in str(error):
            raise _invalid_value(error, value, expected) from error
    except _NOT_JSON as error:
        raise _not_json(error) from error
    try:
        value = _with_integers(value)
        return msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        raise _invalid_value(error, value, expected) from error
    except RecursionError as error:
        raise _not_json(error) from error


def decode_either(body: bytes, today: Any, older: Any, is_older: Callable[[dict[str, Any]], bool]) -> Any:
    """The JSON text as a value of today's type or, if `is_older` says so of an object that isn't one, of that of older clients.

    Raises:
        ProblemError: it is neither.
    """
    try:
        return msgspec.json.decode(body, type=today)
    except _NOT_JSON:
        with suppress(*_NOT_JSON):
            if isinstance(value := msgspec.json.decode(body), dict) and is_older(value):
                return decode_body(body, older)
        return decode_body(body, today)


def _with_integers(value: Any) -> Any:
    """A JSON value in which whole numbers such as 5.0 are integers, as in JSON Schema; these stand for floats, too."""
    if isinstance(value, dict):
        return {name: _with_integers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_integers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value


def run_error(error: ProblemError) -> workers.RunError:
    """A problem as the error of a run, for an answer that has several outcomes; of several errors, the message names all."""
    if len(error.errors) > 1:
        return workers.RunError(code=error.code, message=shortened(error.detail), where=error.errors[0].path)
    (first,) = error.errors or (FieldError(path="$", message=error.detail),)
    return workers.RunError(code=first.code or error.code, message=first.message, where=first.path, hint=first.hint)


def _not_json(error: Exception) -> ProblemError:
    if isinstance(error, RecursionError):
        what = "the body is nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        what = "the body is not UTF-8"
    elif "truncated" in str(error):
        what = "the body is not valid JSON: it ends inside a value, or has half of a surrogate pair"
    else:
        what = f"the body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}"
    return ProblemError(400, what, code="invalid_json")


def _invalid_value(error: msgspec.ValidationError, value: Any, expected: Any) -> ProblemError:
    found = list(islice(_unknown_and_missing(value, expected, "$"), MAX_LISTED))
    others = tuple(each.describe(i) for i, each in enumerate(found))
    text = str(error)
    if (named := _UNKNOWN_OR_MISSING.match(text)) and any(each.name == named["name"] for each in found):
        return invalid_fields(*others)
    suffix = PATH_SUFFIX.search(text)
    path = suffix["path"] if suffix else "$"
    cause = error.__cause__
    if isinstance(cause, BarstormError):
        where = f"{path}.{cause.where.split(',')[0]}" if cause.where else path
        first = FieldError(path=where, message=cause.message, code=cause.code, hint=cause.hint)
        detail = "; ".join([f"{path}.{cause}" if cause.where else f"{path}: {cause}", *map(describe, others)])
        return ProblemError(400, detail, code=cause.code, errors=(first, *others))
    if isinstance(cause, ValueError) and (parts := _FIELD_MESSAGE.fullmatch(str(cause))):
        first = FieldError(path=f"{path}.{parts['field']}", message=parts["message"], hint=parts["hint"] or "")
        return invalid_fields(first, *others)
    message = PATH_SUFFIX.sub("", text)
    values: list[str] = []
    if message.startswith("Invalid enum"):
        values = [each for kind in _types_at(expected, path) for each in permitted_values(kind)]
    elif message.startswith("Invalid value"):  # of what tells the structs of a union apart
        above = _types_at(expected, path.rpartition(".")[0])
        values = [str(kind.__struct_config__.tag) for kind in above if _is_struct(kind) and kind.__struct_config__.tag is not None]
    first = FieldError(path=path, message=message, hint=f"use one of {', '.join(values)}" if values else "")
    return invalid_fields(first, *others)


class _Found(NamedTuple):
    """A field that is missing or, if there are `known` ones, unknown; `path` is that of its object."""

    path: str
    name: str
    known: tuple[str, ...] = ()

    def describe(self, rank: int) -> FieldError:
        path = f"{self.path}.{self.name:.60}"
        if not self.known:
            return FieldError(path=path, message="missing, but required", code="missing_field")
        return unknown(path, self.name, list(self.known), rank=rank)


def _unknown_and_missing(value: Any, expected: Any, path: str) -> Iterator[_Found]:
    """The fields inside a JSON value that its type doesn't have, and those that it requires and the value lacks."""
    for kind in _choices(expected):
        if isinstance(value, dict) and _is_struct(kind):
            yield from _of_struct(value, kind, path)
        elif isinstance(value, dict) and get_origin(kind) is dict:
            for name, part in islice(value.items(), MAX_ELEMENTS):
                yield from _unknown_and_missing(part, get_args(kind)[1], f"{path}.{name:.60}")
        elif isinstance(value, list) and get_origin(kind) in (list, tuple):
            for i, part in enumerate(islice(value, MAX_ELEMENTS)):
                yield from _unknown_and_missing(part, get_args(kind)[0], f"{path}[{i}]")


def _of_struct(value: dict[str, Any], kind: type[msgspec.Struct], path: str) -> Iterator[_Found]:
    fields, config = _fields(kind), kind.__struct_config__
    if config.tag is not None and value.get(config.tag_field or "") != config.tag:
        return  # another struct of the union is meant
    if config.forbid_unknown_fields:
        yield from (_Found(path, name, tuple(fields)) for name in value if name not in fields and name != config.tag_field)
    for name, field in fields.items():
        if name in value:
            yield from _unknown_and_missing(value[name], field.type, f"{path}.{name}")
        elif field.required:
            yield _Found(path, name)


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _types_at(kind: Any, path: str) -> list[Any]:
    """The types that may stand at a JSON path inside a value of a type."""
    types = _choices(kind)
    for name in re.findall(r"\.(\w+)|\[", path):
        inner = [_type_inside(each, name) for each in types]
        types = [choice for each in inner for choice in _choices(each)]
    return types


def _type_inside(kind: Any, name: str) -> Any:
    """The type of a struct's field, or without a name that of the elements of an array or an object."""
    if name:
        return _fields(kind)[name].type if _is_struct(kind) and name in _fields(kind) else None
    elements = [each for each in get_args(kind) if each is not ...]
    return elements[-1] if elements else None


def _choices(kind: Any) -> list[Any]:
    """The types of a union."""
    if get_origin(kind) is Annotated:
        return _choices(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [choice for each in get_args(kind) for choice in _choices(each)]
    return [kind]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
