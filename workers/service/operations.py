"""The table of operations: everything a client can do, described once for every interface (HTTP today)."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec

from workers.model.callers import Scope
from workers.service.backtests import Backtests
from workers.service.datasets import Datasets
from workers.service.fetches import Fetches
from workers.service.keys import Keys
from workers.service.operation_group import OperationGroup
from workers.service.queue import QueueAdministration
from workers.service.strategies import Strategies

_PYTHON_SECTIONS: Final = re.compile(r"^ *(?:Raises|Example):$", re.MULTILINE)


def client_text(docstring: str) -> str:
    """A docstring without its sections about Python."""
    return inspect.cleandoc(_PYTHON_SECTIONS.split(docstring)[0]).strip()


@dataclass(frozen=True)
class Operation:
    """One operation, such as `backtests.submit`."""

    name: str
    summary: str
    description: str
    scope: Scope
    _method: Callable[..., Any]

    @cached_property
    def request(self) -> type[msgspec.Struct]:
        """The parameters as a struct, so that an interface can decode them by name."""
        hints, parameters = self._hints, list(inspect.signature(self._method).parameters.values())[1:]
        fields: list[Any] = [
            (item.name, hints[item.name]) if item.default is item.empty else (item.name, hints[item.name], item.default)
            for item in parameters
        ]
        return msgspec.defstruct(self.name, fields, kw_only=True, frozen=True, forbid_unknown_fields=True)

    @cached_property
    def response(self) -> Any:
        """The type of the response."""
        return self._hints["return"]

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self._method, include_extras=True)


def _operations(group: type[OperationGroup]) -> Iterator[Operation]:
    for name, method in vars(group).items():
        if (scope := getattr(method, "scope", None)) is not None:
            summary, _, description = client_text(method.__doc__ or "").partition("\n")
            yield Operation(f"{group.name}.{name}", summary.rstrip("."), description.strip(), scope, method)


GROUPS: Final[tuple[type[OperationGroup], ...]] = (Backtests, Datasets, Fetches, Keys, QueueAdministration, Strategies)
OPERATIONS: Final[dict[str, Operation]] = {operation.name: operation for group in GROUPS for operation in _operations(group)}
