"""Brings expressions into one canonical form: equal expressions become equal texts, and the compiler handles one form only.

Named arguments and defaults become positional, `tf="4h"` and names such as `close_4h` become `at('4h', ...)`, and the name of an
indicator's first output is dropped.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from python_core.data import timeframes
from python_core.errors import BarstormError, StrategyError
from python_core.indicators import INDICATORS
from python_core.language.parser import parse
from python_core.language.vocabulary import FUNCTIONS, PARAMETERS, SERIES, suggest

# More than the compiler allows, and less than Python's recursion limit.
MAX_LEVELS: Final = 100


def desugar(where: str, text: str, timeframes: Iterable[str] = (), define: Iterable[str] = ()) -> ast.expr:
    """The syntax tree of `text` with all shorthands expanded; `close_4h` is one if 4h is among `timeframes`.

    Raises:
        StrategyError: not an expression, or a call with arguments that the function doesn't have.
    """
    tree = _Desugarer(where, timeframes, define).visit(parse(where, text))
    assert isinstance(tree, ast.expr)
    return tree


def canonical(where: str, text: str, timeframes: Iterable[str] = (), define: Iterable[str] = ()) -> str:
    """The canonical text of an expression: white space, redundant brackets, number formats and shorthands make no difference."""
    return _canonical(where, text, tuple(timeframes), tuple(define)) if text.strip() else ""


# Every fingerprint needs it, and most runs share their expressions with others.
@lru_cache(maxsize=1024)
def _canonical(where: str, text: str, timeframes: tuple[str, ...], define: tuple[str, ...]) -> str:
    return ast.unparse(normalize(desugar(where, text, timeframes, define)))


def normalize(tree: ast.expr) -> ast.expr:
    """`tree` with numbers in one format and chains of `and` and `or` flattened."""
    result = _Normalizer().visit(tree)
    assert isinstance(result, ast.expr)
    return result


def at_call(timeframe: ast.expr | str, value: ast.expr) -> ast.Call:
    """A call of `at` with the source position of `value`."""
    frame = ast.Constant(timeframe) if isinstance(timeframe, str) else timeframe
    call = ast.Call(ast.Name("at", ast.Load()), [frame, value], [])
    for node in (call, call.func, *([frame] if isinstance(timeframe, str) else [])):
        ast.copy_location(node, value)
    return call


class _Desugarer(ast.NodeTransformer):
    def __init__(self, where: str, timeframes: Iterable[str], define: Iterable[str]) -> None:
        self.where = where
        self.timeframes = tuple(timeframes)
        self.names = {*SERIES, *define}
        self.depth = 0

    def visit(self, node: ast.AST) -> Any:
        if self.depth > MAX_LEVELS:
            return node  # the compiler rejects it
        self.depth += 1
        try:
            return super().visit(node)
        finally:
            self.depth -= 1

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name, timeframe = self._split_timeframe(node.id, self.names)
        return node if timeframe is None else at_call(timeframe, ast.copy_location(ast.Name(name, ast.Load()), node))

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        value: ast.expr = self.visit(node.value)
        if isinstance(value, ast.Call) and is_at_call(value):  # the output is that of the inner function: macd(close, tf='4h').hist
            value.args[1] = self._output(node, value.args[1])
            return ast.copy_location(value, node)
        return self._output(node, value)

    def _output(self, node: ast.Attribute, value: ast.expr) -> ast.expr:
        row = INDICATORS.get(value.func.id) if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else None
        if row and row.outputs and row.outputs[0] == node.attr:
            return value
        return ast.copy_location(ast.Attribute(value, node.attr, ast.Load()), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        node.args = [self.visit(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        if not isinstance(node.func, ast.Name):
            return node
        name, timeframe = self._split_timeframe(node.func.id, FUNCTIONS)
        if name not in FUNCTIONS:
            return node  # the compiler rejects it
        node.func.id = name
        if name == "at":
            self._bind_arguments(node, name)
            _normalize_timeframe(node)
            return node
        frames: list[ast.expr | str] = [] if timeframe is None else [timeframe]
        if node.args and isinstance(node.args[-1], ast.Constant) and isinstance(node.args[-1].value, str):
            frames.append(node.args.pop())
        frames += [keyword.value for keyword in node.keywords if keyword.arg == "tf"]
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "tf"]
        if len(frames) > 1:
            raise self._error(node, f"{name} has {len(frames)} timeframes", hint="remove one of them")
        self._bind_arguments(node, name)
        if not frames:
            return node
        call = at_call(frames[0], node)
        _normalize_timeframe(call)
        return call

    def _split_timeframe(self, name: str, known: Iterable[str]) -> tuple[str, str | None]:
        """`close_4h` split into `close` and `4h`, if 4h is an additional timeframe and `close` is known."""
        base, _, timeframe = name.rpartition("_")
        return (base, timeframe) if timeframe in self.timeframes and base in known else (name, None)

    def _bind_arguments(self, node: ast.Call, name: str) -> None:
        """Make named arguments positional and fill in defaults."""
        parameters = PARAMETERS.get(name)
        if parameters is None:
            if node.keywords:
                raise self._error(node, f"{name} takes its arguments by position", hint="remove their names")
            return
        if any(isinstance(argument, ast.Starred) for argument in node.args) or len(node.args) > len(parameters):
            return  # the compiler rejects it
        given = dict(zip(parameters, node.args, strict=False))
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self._error(node, f"{name} doesn't accept ** arguments", hint=f"write {name}({', '.join(parameters)})")
            if keyword.arg not in parameters:
                hint = suggest(keyword.arg, [*parameters, "tf"])
                raise self._error(node, f"{name} has no argument {keyword.arg!r:.60}", hint=hint, code="unknown_name")
            if keyword.arg in given:
                raise self._error(node, f"{name} gets {keyword.arg} twice", hint="remove one of them")
            given[keyword.arg] = keyword.value
        missing = [parameter for parameter, default in parameters.items() if default is None and parameter not in given]
        if missing and node.keywords:
            raise self._error(node, f"{name} needs {' and '.join(missing)}", hint=f"write {name}({', '.join(parameters)})")
        if missing:
            return
        node.keywords = []
        node.args = [
            given[parameter] if parameter in given else ast.copy_location(ast.Constant(default), node)
            for parameter, default in parameters.items()
        ]

    def _error(self, node: ast.expr, message: str, *, hint: str, code: str = "") -> StrategyError:
        return StrategyError(message, where=f"{self.where}, column {node.col_offset + 1}", hint=hint, code=code)


def is_at_call(node: ast.expr) -> bool:
    """Whether `node` is a complete call of `at`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "at" and len(node.args) == 2


def _normalize_timeframe(call: ast.Call) -> None:
    frame = call.args[0] if call.args else None
    if isinstance(frame, ast.Constant) and isinstance(frame.value, str | int) and not isinstance(frame.value, bool):
        with suppress(BarstormError):  # the compiler rejects it
            frame.value = timeframes.parse(frame.value)


class _Normalizer(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            return node
        value = float(node.value)
        return ast.Constant(int(value) if value.is_integer() and abs(value) < 2**53 else value)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.BoolOp:
        self.generic_visit(node)
        values: list[ast.expr] = []
        for value in node.values:
            inner = isinstance(value, ast.BoolOp) and type(value.op) is type(node.op)
            values += value.values if inner else [value]  # type: ignore[attr-defined]
        return ast.BoolOp(node.op, values)
