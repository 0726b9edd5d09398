"""Paths: what follows the name of a resource is an id or a name, or a word that no name can be."""

from __future__ import annotations

import pytest

import workers
from api import create_app
from workers.model.names import check_name

# Path parameters that are ids or names.
NAMED = ("{dataset:str}", "{strategy:str}")


def words() -> set[tuple[str, str]]:
    """The paths of resources with names, and the words that other routes have where a name can be."""
    paths = [tuple(route.path.split("/")) for route in create_app(workers.Settings(data_dir="unused")).routes]
    prefixes = {path[: path.index(name)] for path in paths for name in NAMED if name in path}
    return {
        ("/".join(prefix), path[len(prefix)])
        for prefix in prefixes
        for path in paths
        if path[: len(prefix)] == prefix and len(path) > len(prefix) and path[len(prefix)] not in NAMED
    }


def test_no_name_is_taken_for_another_path() -> None:
    found = words()
    assert ("/api/v1/strategies", "library") in found
    for _, word in found:
        with pytest.raises(workers.Invalid, match="reserved"):
            check_name(word)
