"""Compiles expressions to a plan. Text is parsed with Python's own grammar, checked node by node, and never run as code."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from functools import cache, partial, reduce
from typing import Final, NamedTuple

import numpy as np

from python_core.data import timeframes
from python_core.errors import BarstormError, StrategyError
from python_core.indicators import INDICATORS, MAX_LOOKBACK, Argument, Indicator
from python_core.language.normalize import at_call, desugar
from python_core.language.parser import describe, parse
from python_core.language.plan import CROSSINGS, STREAKS, PlanBuilder
from python_core.language.vocabulary import COLUMNS, ELEMENTWISE, FUNCTIONS, POSITION_STATE, SERIES, TIME_PARTS, TYPICAL, suggest
from python_core.numerics.elementwise import BINARY, UNARY

MAX_LENGTH: Final = 2_000
MAX_DEPTH: Final = 40

STREAK_LENGTH: Final = Argument("length")
ARITHMETIC: Final[dict[type, str]] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
COMPARISONS: Final[dict[type, str]] = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}

ParamValue = bool | int | float | str


class Expansion(NamedTuple):
    """A call of a composite indicator: the syntax node, the plan positions of the names bound so far, and the formula."""

    call: ast.Call
    bound: dict[str, int]
    formula: Mapping[str, str]


class Compiler(ast.NodeVisitor):
    """Compiles one strategy's expressions into a shared plan."""

    def __init__(
        self,
        builder: PlanBuilder,
        params: Mapping[str, ParamValue],
        define: Mapping[str, str],
        timeframes: tuple[str, ...] = (),
        max_length: int = MAX_LENGTH,
    ) -> None:
        self.max_length = max_length
        self.builder = builder
        self.timeframes = timeframes
        self.params = params
        self.define = define
        self._defined: dict[tuple[str, int], int] = {}
        self._compiling: list[str] = []
        self._where = ""
        self._depth = 0
        self._expansion: Expansion | None = None
        self._expanded: dict[tuple[str | int | None, ...], int] = {}

    def condition(self, where: str, text: str, timeframe: str | None = None) -> int:
        """Position of the node of the condition `text`, evaluated on a higher timeframe if one is given."""
        node, tree = self._compile(where, text, timeframe)
        if not self.builder.nodes[node].is_condition:
            raise self._error(tree, "expected a condition, got a number", hint="compare it, as in close > open", where=where)
        return node

    def number(self, where: str, text: str) -> int:
        """Position of the node of the number `text`."""
        node, tree = self._compile(where, text)
        if self.builder.nodes[node].is_condition:
            raise self._error(tree, "expected a number, got a condition", hint="use a price", where=where)
        return node

    def expression(self, where: str, text: str) -> int:
        """Position of the node of `text`, a number or a condition."""
        return self._compile(where, text)[0]

    def definition(self, name: str, text: str) -> int:
        """Position of the node of a named expression on the current timeframe, compiled once for each timeframe."""
        key = (name, self.builder.timeframe_ms)
        if key not in self._defined:
            self._compiling.append(name)
            self._defined[key] = self._compile(f"define.{name}", text)[0]
            self._compiling.pop()
        return self._defined[key]

    def _compile(self, where: str, text: str, timeframe: str | None = None) -> tuple[int, ast.expr]:
        if not isinstance(text, str):
            raise StrategyError(f"expected text, got {text!r:.60}", where=where, hint="give an expression such as 'close > sma(close, 20)'")
        if len(text) > self.max_length:
            raise StrategyError(
                f"the expression has {len(text):,} characters", where=where, hint=f"use at most {self.max_length:,}", code="too_large"
            )
        outer, self._where = self._where, where
        try:
            tree = desugar(where, text, self.timeframes, self.define)
            return self.visit(tree if timeframe is None else at_call(timeframe, tree)), tree
        except StrategyError as error:
            # The plan builder raises errors about its limits without knowing the expression.
            raise error if error.where else StrategyError(error.message, where=where, hint=error.hint, code=error.code) from None
        finally:
            self._where = outer

    def visit(self, node: ast.AST) -> int:
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise self._error(node, "the expression is nested too deeply", hint=f"use at most {MAX_DEPTH} levels", code="too_large")
            visitor = getattr(self, f"visit_{type(node).__name__}", None)
            if visitor is None:
                raise self._error(node, f"{describe(node)} is not supported", hint="see the list of functions and operators")
            result: int = visitor(node)
            return result
        finally:
            self._depth -= 1

    def visit_Constant(self, node: ast.Constant) -> int:
        value = node.value
        if isinstance(value, bool):
            return self.builder.add("const_condition", (), (float(value),))
        if not isinstance(value, int | float):
            raise self._error(node, f"expected a number, got {value!r:.40}", hint="use numbers, names and functions")
        return self._number(node, value)

    def _number(self, node: ast.AST, value: int | float) -> int:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._error(node, "the number is too large", hint="use a finite number")
        return self.builder.add("const", (), (number,))

    def visit_Name(self, node: ast.Name) -> int:
        name = node.id
        if self._expansion and (name in self._expansion.bound or name in self._expansion.formula):
            return self._bound(self._expansion, name)
        if name in COLUMNS or name in TIME_PARTS or name in TYPICAL:
            return self._column(name)
        if name in self.builder.free:
            return self.builder.add("param", (), (float(self.builder.free.index(name)),))
        if name in self.params:
            value = self.params[name]
            if isinstance(value, bool):
                return self.builder.add("const_condition", (), (float(value),))
            if isinstance(value, str):
                raise self._error(node, f"parameter {name!r} is text", hint=f"text can only be a timeframe, as in at({name}, close)")
            return self._number(node, value)
        if name in self.define:
            if name in self._compiling:
                raise self._error(node, f"{name!r} is defined in terms of itself", hint="remove the circular definition")
            return self.definition(name, self.define[name])
        if name in FUNCTIONS:
            raise self._error(node, f"{name!r} is a function", hint=f"call it, as in {name}(close, ...)")
        if name in POSITION_STATE:
            hint = "to act on a position, set stop_loss, take_profit, trailing_stop, break_even_at or max_bars of the execution"
            raise self._error(node, f"{name!r} is unknown when signals are computed", hint=hint, code="position_state")
        known = [*SERIES, *self.params, *self.define, *(f"{column}_{timeframe}" for timeframe in self.timeframes for column in COLUMNS)]
        raise self._error(node, f"unknown name {name!r:.60}", hint=suggest(name, known), code="unknown_name")

    def _column(self, name: str) -> int:
        """Position of the node of a series of the bars."""
        columns = tuple(map(self.builder.add, TYPICAL.get(name, ())))
        if name == "hl2":  # rounded once as it is
            return self.builder.add("div", (self.builder.add("add", columns), self.builder.add("const", (), (2.0,))))
        return self.builder.add(name, columns)

    def visit_BinOp(self, node: ast.BinOp) -> int:
        op = ARITHMETIC.get(type(node.op))
        if op is None:
            raise self._error(node, f"the operator {describe(node.op)} is not supported", hint="use + - * /")
        return self._elementwise(op, self._series(node.left), self._series(node.right))

    def _elementwise(self, op: str, *inputs: int) -> int:
        constants = [constant for i in inputs if (constant := self.builder.constant(i)) is not None]
        if len(constants) < len(inputs):
            return self.builder.add(op, inputs)
        with np.errstate(all="ignore"):
            folded = (UNARY.get(op) or BINARY[op])(*map(np.float64, constants))
        return self.builder.add("const", (), (float(folded),))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> int:
        if isinstance(node.op, ast.Not):
            return self.builder.add("not", (self._condition(node.operand),))
        if isinstance(node.op, ast.USub):
            return self._elementwise("neg", self._series(node.operand))
        if isinstance(node.op, ast.UAdd):
            return self._series(node.operand)
        raise self._error(node, "the operator ~ is not supported", hint="use not")

    def visit_BoolOp(self, node: ast.BoolOp) -> int:
        op = "and" if isinstance(node.op, ast.And) else "or"
        result = self._condition(node.values[0])
        for value in node.values[1:]:
            result = self.builder.add(op, (result, self._condition(value)))
        return result

    def visit_IfExp(self, node: ast.IfExp) -> int:
        condition, body, other = self._condition(node.test), self.visit(node.body), self.visit(node.orelse)
        kinds = {self.builder.nodes[i].is_condition for i in (body, other)}
        if len(kinds) == 2:
            raise self._error(node, "one branch is a number and the other a condition", hint="use two numbers or two conditions")
        if kinds == {False}:
            return self.builder.add("select", (condition, body, other))
        otherwise = self.builder.add("and", (self.builder.add("not", (condition,)), other))
        return self.builder.add("or", (self.builder.add("and", (condition, body)), otherwise))

    def visit_Compare(self, node: ast.Compare) -> int:
        result = -1
        left = self._series(node.left)
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            name = COMPARISONS.get(type(op))
            if name is None:
                raise self._error(node, f"the operator {describe(op)} is not supported", hint="use < <= > >= == !=")
            right = self._series(comparator)
            link = self.builder.add(name, (left, right))
            result = link if result < 0 else self.builder.add("and", (result, link))
            left = right
        return result

    def visit_Call(self, node: ast.Call) -> int:
        if not isinstance(node.func, ast.Name):
            raise self._error(node, "only functions of the language can be called", hint="write it as in sma(close, 20)")
        name = node.func.id
        if name not in FUNCTIONS:
            raise self._error(node, f"unknown function {name!r:.60}", hint=suggest(name, [*FUNCTIONS]), code="unknown_function")
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._error(node, f"{name} doesn't accept * arguments", hint="write the arguments one by one")
        if name == "at":
            return self._at(node)
        if name in CROSSINGS:
            if len(node.args) != 2:
                raise self._error(node, f"{name} takes 2 series, not {len(node.args)}", hint=f"write {name}(a, b)")
            return self.builder.add(name, (self._series(node.args[0]), self._series(node.args[1])))
        if name in ELEMENTWISE:
            return self._elementwise_call(node, name)
        if name in STREAKS:
            if len(node.args) != 2:
                raise self._error(node, f"{name} takes 2 arguments, not {len(node.args)}", hint=f"write {name}(series, length)")
            length = self._argument(node, name, STREAK_LENGTH, node.args[1])
            return self.builder.indicator(name, (self._series(node.args[0]),), (length,))
        return self._function(node, name, None)

    def _at(self, node: ast.Call) -> int:
        """The value on the last ended bar of a higher timeframe."""
        if len(node.args) != 2:
            raise self._error(node, f"at takes 2 arguments, not {len(node.args)}", hint="write it as in at('4h', close > open)")
        builder, name = self.builder, self._timeframe(node.args[0])
        coarse_ms, fine_ms = timeframes.MILLISECONDS[name], builder.timeframe_ms or builder.strategy_ms
        if fine_ms is not None and not timeframes.fits(fine_ms, coarse_ms):
            message, hint = timeframes.misfit(timeframes.name(fine_ms), name)
            raise self._error(node, message, hint=hint)
        if coarse_ms == fine_ms:
            return self.visit(node.args[1])
        outer, builder.timeframe_ms = builder.timeframe_ms, coarse_ms
        try:
            value = self.visit(node.args[1])
        finally:
            builder.timeframe_ms = outer
        return builder.add("at_condition" if builder.nodes[value].is_condition else "at", (value,))

    def _timeframe(self, node: ast.expr) -> str:
        value = node.value if isinstance(node, ast.Constant) else self.params.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self._error(node, "expected a timeframe", hint="write it in quotes, as in at('4h', close), or use a text parameter")
        try:
            return timeframes.parse(value)
        except BarstormError as error:
            raise self._error(node, error.message, hint=error.hint, code=error.code) from None

    def _elementwise_call(self, node: ast.Call, name: str) -> int:
        expected, hint = ("2 or more numbers", "a, b") if name in BINARY else ("1 number", "x")
        if not node.args or (len(node.args) > 1) != (name in BINARY):
            raise self._error(node, f"{name} takes {expected}, not {len(node.args)}", hint=f"write {name}({hint})")
        numbers = [self._series(argument) for argument in node.args]
        if name in UNARY:
            return self._elementwise(name, numbers[0])
        return reduce(partial(self._elementwise, name), numbers)

    def visit_Attribute(self, node: ast.Attribute) -> int:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in INDICATORS:
            return self._function(call, call.func.id, node.attr)
        raise self._error(node, f"{describe(node)} is not supported", hint="see the list of functions and operators")

    def _function(self, node: ast.Call, name: str, output: str | None) -> int:
        """Position of the node of one output of an indicator call; the first output if none is named."""
        indicator = INDICATORS[name]
        if output is not None and output not in indicator.outputs:
            hint = suggest(output, list(indicator.outputs)) if indicator.outputs else "remove the dot and the name"
            raise self._error(node, f"{name} has no output {output!r:.60}", hint=hint, code="unknown_name")
        parameters, count = _parameters(name), len(node.args)
        if not indicator.required <= count <= len(parameters):
            maximum = len(parameters)
            expected = maximum if maximum == indicator.required else f"{indicator.required} to {maximum}"
            raise self._error(node, f"{name} takes {expected} arguments, not {count}", hint=f"write {name}({', '.join(parameters)})")
        bound: dict[str, int] = {}
        first_series, first_argument = len(indicator.conditions), len(indicator.conditions) + len(indicator.series)
        for parameter, argument in zip(indicator.conditions, node.args, strict=False):
            bound[parameter] = self.builder.add("select", (self._condition(argument), *(self._number(node, x) for x in (1.0, 0.0))))
        for parameter, argument in zip(indicator.series, node.args[first_series:], strict=False):
            bound[parameter] = self._series(argument)
        given = [*node.args[first_argument:], *[None] * (len(parameters) - count)]
        for row, number in zip(indicator.arguments, given, strict=True):
            bound[row.name] = self._argument(node, name, row, number)
        if indicator.formula:
            key = (name, output, self.builder.timeframe_ms, *bound.values())
            if key not in self._expanded:
                self._expanded[key] = self._expand(node, indicator, bound, output)
            return self._expanded[key]
        inputs = tuple(bound[each] for each in parameters[:first_argument]) + tuple(map(self._column, indicator.implied))
        which = indicator.outputs.index(output or indicator.outputs[0]) if indicator.outputs else None
        return self.builder.indicator(name, inputs, tuple(bound[row.name] for row in indicator.arguments), which)

    def _expand(self, node: ast.Call, indicator: Indicator, bound: dict[str, int], output: str | None) -> int:
        """Position of the node of one output of a composite indicator."""
        outer, depth = self._expansion, self._depth
        self._expansion, self._depth = Expansion(outer.call if outer else node, bound, indicator.formula), 0
        try:
            return self._bound(self._expansion, output or next(iter(indicator.formula)))
        finally:
            self._expansion, self._depth = outer, depth

    def _bound(self, expansion: Expansion, name: str) -> int:
        """Position of a name of the formula, compiled at its first use."""
        if name not in expansion.bound:
            expansion.bound[name] = self.visit(_formula(expansion.formula[name]))
        return expansion.bound[name]

    def _argument(self, node: ast.Call, function: str, row: Argument, argument: ast.expr | None) -> int:
        """Position of the node of a numeric argument of an indicator."""
        if argument is None:
            return self._number(node, row.default or 0.0)
        position = self._series(argument)
        value = self.builder.constant(position)
        if value is None and self.builder.free and self.builder.is_free_number(position):
            return position
        if value is None:
            raise self._error(argument, f"the {row.name} of {function} must be a constant", hint="use a number or a parameter")
        if (row.integer and not value.is_integer()) or not row.minimum <= value <= row.maximum:
            kind = "whole number" if row.integer else "number"
            hint = f"use a {kind} from {row.minimum:,.15g} to {row.maximum:,.15g}"
            raise self._error(argument, f"the {row.name} of {function} is {value:g}", hint=hint)
        return position

    def visit_Subscript(self, node: ast.Subscript) -> int:
        value = self._series(node.value)
        position = -1 if isinstance(node.slice, ast.Slice | ast.Tuple) else self._series(node.slice)
        if position >= 0 and self.builder.free and self.builder.is_free_number(position):
            return self.builder.indicator("shift", (value,), (position,))
        bars = None if position < 0 else self.builder.constant(position)
        if bars is None or not bars.is_integer():
            raise self._error(node, "the index must be a constant whole number", hint="x[1] is the value one bar earlier")
        if bars < 0:
            raise self._error(node, f"x[{bars:g}] would look ahead", hint="use x[1] for the value one bar earlier", code="look_ahead")
        if bars > MAX_LOOKBACK:
            raise self._error(node, f"x[{bars:g}] looks back too far", hint=f"use at most {MAX_LOOKBACK:,}", code="too_large")
        return value if bars == 0 else self.builder.indicator("shift", (value,), (position,))

    def _series(self, node: ast.expr) -> int:
        result = self.visit(node)
        if self.builder.nodes[result].is_condition:
            raise self._error(node, "expected a number, got a condition", hint="use a series or a number here")
        return result

    def _condition(self, node: ast.expr) -> int:
        result = self.visit(node)
        if not self.builder.nodes[result].is_condition:
            raise self._error(node, "expected a condition, got a number", hint="compare it, as in rsi(close, 14) < 30")
        return result

    def _error(self, node: ast.AST, message: str, *, hint: str = "", code: str = "", where: str = "") -> StrategyError:
        # Inside a formula the user sees only the call.
        source = self._expansion.call if self._expansion else node
        column = getattr(source, "col_offset", 0) + 1
        return StrategyError(message, where=f"{where or self._where}, column {column}", hint=hint, code=code)


@cache
def _parameters(function: str) -> tuple[str, ...]:
    return INDICATORS[function].parameters


@cache
def _formula(text: str) -> ast.expr:
    return parse("formula", text)
