"""The table of error codes has every code that the code raises, and no other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from workers.codes import CODES

ROOT = Path(__file__).parents[3]
FILES = [path for package in ("api", "workers", "python_core") for path in sorted((ROOT / package).rglob("*.py"))]
# Tables from which codes are taken.
TABLES = ("CODES", "_CODES", "_REFUSALS", "_REFUSALS_BY_TYPE")


def values(node: ast.expr) -> Iterator[ast.expr]:
    """What an expression may result in."""
    if isinstance(node, ast.IfExp):
        yield from values(node.body)
        yield from values(node.orelse)
    else:
        yield node


def given(tree: ast.Module) -> Iterator[ast.expr]:
    """What the argument, the attribute or the variable `code` is set to, and the values of tables of codes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "code":
            yield from values(node.value)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            pairs = (
                zip(target.elts, node.value.elts, strict=True)
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                else [(target, node.value)]
            )
            for name, value in pairs:
                if isinstance(name, ast.Name) and name.id == "code" and value is not None:
                    yield from values(value)
                if isinstance(name, ast.Name) and name.id in TABLES and isinstance(value, ast.Dict):
                    yield from (entry.elts[0] if isinstance(entry, ast.Tuple) else entry for entry in value.values)


def raised() -> dict[str, str]:
    """Each code that is written somewhere, with one of the places."""
    return {
        node.value: f"{path}:{node.lineno}"
        for path in FILES
        if path.name != "codes.py"
        for node in given(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value
    }


def test_every_code_that_is_raised_is_in_the_table() -> None:
    assert {code: place for code, place in raised().items() if code not in CODES} == {}


def test_every_code_of_the_table_is_raised_somewhere() -> None:
    assert set(CODES) - set(raised()) == set()


def test_codes_are_written_out_or_passed_on_as_anything_else_is_hidden_from_these_tests() -> None:
    for path in FILES:
        for node in given(ast.parse(path.read_text())):
            is_passed_on = isinstance(node, ast.Name | ast.Attribute) or ast.unparse(node).endswith(".code")
            assert is_passed_on or isinstance(node, ast.Constant | ast.Await | ast.Call), f"{path}:{node.lineno}: {ast.unparse(node)}"
