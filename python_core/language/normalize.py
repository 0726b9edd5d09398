"""One spelling for what may be written in several: equal expressions become equal texts, and the compiler knows one form only.

Named arguments and defaults go to their places, `tf="4h"` and names such as `close_4h` become `at('4h', ...)`, and the first of several
outputs loses its name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from python_core.data import timeframes
from python_core.errors import BarstormError, StrategyError
from python_core.indicators import INDICATORS
from python_core.language.parser import parse
from python_core.language.vocabulary import FUNCTIONS, PARAMETERS, SERIES, nearest

# More than any expression may have, and less than Python can go through.
MAX_LEVELS: Final = 100


def longhand(where: str, text: str, timeframes: Iterable[str] = (), define: Iterable[str] = ()) -> ast.expr:
    """The syntax tree of `text` without anything that is short for something else; `close_4h` is for the `timeframes` given.

    Raises:
        StrategyError: no expression; or a function is given arguments that it doesn't have.
    """
    tree = _Longhand(where, timeframes, define).visit(parse(where, text))
    assert isinstance(tree, ast.expr)
    return tree


def canonical(where: str, text: str, timeframes: Iterable[str] = (), define: Iterable[str] = ()) -> str:
    """The same expression in one spelling: white space, needless brackets, number formats and shorthands don't matter."""
    return ast.unparse(one_spelling(longhand(where, text, timeframes, define))) if text.strip() else ""


def one_spelling(tree: ast.expr) -> ast.expr:
    """`tree` with its numbers and its chains of `and` and `or` in one form."""
    result = _OneSpelling().visit(tree)
    assert isinstance(result, ast.expr)
    return result


def at(timeframe: ast.expr | str, value: ast.expr) -> ast.Call:
    """The call of `at`, standing where `value` does."""
    frame = ast.Constant(timeframe) if isinstance(timeframe, str) else timeframe
    call = ast.Call(ast.Name("at", ast.Load()), [frame, value], [])
    for node in (call, call.func, *([frame] if isinstance(timeframe, str) else [])):
        ast.copy_location(node, value)
    return call


class _Longhand(ast.NodeTransformer):
    def __init__(self, where: str, timeframes: Iterable[str], define: Iterable[str]) -> None:
        self.where = where
        self.timeframes = tuple(timeframes)
        self.names = {*SERIES, *define}
        self.depth = 0

    def visit(self, node: ast.AST) -> Any:
        if self.depth > MAX_LEVELS:
            return node  # for the compiler to refuse
        self.depth += 1
        try:
            return super().visit(node)
        finally:
            self.depth -= 1

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name, timeframe = self._without_timeframe(node.id, self.names)
        return node if timeframe is None else at(timeframe, ast.copy_location(ast.Name(name, ast.Load()), node))

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        value: ast.expr = self.visit(node.value)
        if isinstance(value, ast.Call) and is_at(value):  # the point belongs to the function: macd(close, tf='4h').hist
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
        name, timeframe = self._without_timeframe(node.func.id, FUNCTIONS)
        if name not in FUNCTIONS:
            return node  # for the compiler to refuse
        node.func.id = name
        if name == "at":
            self._arrange(node, name)
            _name_timeframe(node)
            return node
        frames: list[ast.expr | str] = [] if timeframe is None else [timeframe]
        if node.args and isinstance(node.args[-1], ast.Constant) and isinstance(node.args[-1].value, str):
            frames.append(node.args.pop())
        frames += [keyword.value for keyword in node.keywords if keyword.arg == "tf"]
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "tf"]
        if len(frames) > 1:
            raise self._error(node, f"{name} has {len(frames)} timeframes", hint="leave out one of them")
        self._arrange(node, name)
        if not frames:
            return node
        call = at(frames[0], node)
        _name_timeframe(call)
        return call

    def _without_timeframe(self, name: str, known: Iterable[str]) -> tuple[str, str | None]:
        """`close_4h` in two, where 4h is among the additional timeframes and `close` is known."""
        plain, _, timeframe = name.rpartition("_")
        return (plain, timeframe) if timeframe in self.timeframes and plain in known else (name, None)

    def _arrange(self, node: ast.Call, name: str) -> None:
        """Named arguments at their places, and defaults for those left out."""
        parameters = PARAMETERS.get(name)
        if parameters is None:
            if node.keywords:
                raise self._error(node, f"{name} takes its arguments by position", hint="leave out their names")
            return
        if any(isinstance(argument, ast.Starred) for argument in node.args) or len(node.args) > len(parameters):
            return  # for the compiler to refuse
        given = dict(zip(parameters, node.args, strict=False))
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self._error(node, f"{name} takes no stars", hint=f"write {name}({', '.join(parameters)})")
            if keyword.arg not in parameters:
                hint = nearest(keyword.arg, [*parameters, "tf"])
                raise self._error(node, f"{name} has no argument {keyword.arg!r:.60}", hint=hint, code="unknown_name")
            if keyword.arg in given:
                raise self._error(node, f"{name} is given {keyword.arg} twice", hint="leave out one of them")
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


def is_at(node: ast.expr) -> bool:
    """Whether `node` is a whole call of `at`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "at" and len(node.args) == 2


def _name_timeframe(call: ast.Call) -> None:
    frame = call.args[0] if call.args else None
    if isinstance(frame, ast.Constant) and isinstance(frame.value, str | int) and not isinstance(frame.value, bool):
        with suppress(BarstormError):  # for the compiler to refuse
            frame.value = timeframes.parse(frame.value)


class _OneSpelling(ast.NodeTransformer):
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
