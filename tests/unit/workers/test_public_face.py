"""The names of `workers`: complete, sorted, and cheap to import."""

from __future__ import annotations

import subprocess
import sys
import typing
from importlib import import_module

import workers


def test_every_name_is_listed_once_and_sorted() -> None:
    listed = sorted(name for names in workers._NAMES.values() for name in names)
    assert workers.__all__ == listed
    assert len(set(listed)) == len(listed)


def test_every_name_is_found_where_it_is_said_to_be() -> None:
    for module, names in workers._NAMES.items():
        for name in names:
            assert getattr(workers, name) is getattr(import_module(module), name)


def test_the_import_alone_loads_none_of_the_service_packages() -> None:
    code = "import sys, workers; print(*sorted({'arq', 'litestar', 'polars', 'redis', 'sqlalchemy', 'structlog'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_operations_describe_themselves() -> None:
    from workers.service.operations import OPERATIONS

    for name, operation in OPERATIONS.items():
        assert operation.summary, name
        assert not operation.summary.endswith("."), name
        assert operation.description, name
        assert "Raises" not in operation.description, name
        assert operation.request.__struct_config__.forbid_unknown_fields, name
        assert typing.get_type_hints(operation.request) is not None, name
