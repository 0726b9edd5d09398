"""Modules of the compiled kernel use only those below them."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "core_rs" / "src"

# Top floor first; modules on one floor do not use each other.
LAYERS = [
    {"python"},
    {"backtest", "sweep"},
    {"metrics"},
    {"simulation"},
    {"signals"},
    {"plan"},
    {"indicators"},
    {"market"},
    {"numerics"},
    {"simd"},
    {"cancel"},
    {"error", "random"},
]
FLOOR = {name: floor for floor, names in enumerate(LAYERS) for name in names}

Module = tuple[str, ...]


def modules() -> dict[Module, str]:
    """Each module's code without comments and tests, which may use everything."""
    found = {}
    for path in SOURCES.rglob("*.rs"):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        if parts[-1] not in ("lib", "tests"):
            code = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
            found[parts[:-1] if parts[-1] == "mod" else parts] = code.partition("#[cfg(test)]\nmod tests {")[0]
    return found


def paths(code: str) -> set[Module]:
    """The paths from the crate's root, with groups in braces expanded; nested groups do not occur."""
    found = set()
    for path, group in re.findall(r"\bcrate::(\w+(?:::\w+)*)(?:::\{([^}]*)\})?", code):
        for name in group.split(",") if group else [""]:
            found.add((*path.split("::"), *name.split()[:1]))
    return found


def uses() -> dict[Module, set[Module]]:
    known = modules()

    def module_of(path: Module) -> Module:
        while path and path not in known:
            path = path[:-1]
        return path

    found = {}
    for module, code in known.items():
        used = {module_of(path) for path in paths(code)}
        children = {child for child in known if child[:-1] == module and re.search(rf"(?<![\w:]){child[-1]}::", code)}
        found[module] = (used | children) - {module, ()}
    return found


def test_every_module_has_a_floor() -> None:
    assert {module[0] for module in modules()} == set(FLOOR)


def test_modules_are_named_by_full_paths() -> None:
    """Otherwise the other tests would miss uses; a module's own children may be used by name."""
    for module, code in modules().items():
        assert not re.search(r"\bsuper::|\bself::|\bcrate::\{|\bcrate::\w+::\{[^}]*\{", code), module


def test_modules_use_only_those_on_lower_floors() -> None:
    upward = [
        f"{'::'.join(module)} uses {'::'.join(used)}"
        for module, all_used in uses().items()
        for used in all_used
        if used[0] != module[0] and FLOOR[used[0]] <= FLOOR[module[0]]
    ]
    assert not upward


def test_modules_do_not_use_each_other() -> None:
    try:
        TopologicalSorter(uses()).prepare()
    except CycleError as error:
        pytest.fail(" uses ".join("::".join(module) for module in reversed(error.args[1])))
