"""The services of `deploy/compose.yaml`, with the values that Compose would fill in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"
PASSWORDS: Final = {"POSTGRES_PASSWORD": "p0stgres", "VALKEY_PASSWORD": "va1key", "S3_PASSWORD": "s3cret"}
# `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}`.
_VARIABLE: Final = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


def services(variables: Mapping[str, str] = PASSWORDS) -> dict[str, dict[str, Any]]:
    """The services by name.

    Raises:
        KeyError: a variable without a default is missing.
    """
    found: dict[str, dict[str, Any]] = _filled_in(yaml.safe_load(FILE.read_text()), variables)["services"]
    return found


def _filled_in(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled_in(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled_in(value, variables) for value in node]
    return _VARIABLE.sub(lambda match: _value(match, variables), node) if isinstance(node, str) else node


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    dollar, name, operator, default = match.groups()
    if dollar:
        return "$"
    if value := variables.get(name):
        return value
    if operator != "-":
        raise KeyError(name)
    return str(default)
