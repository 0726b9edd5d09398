"""Conditions written with Python's operators, which become the text of a `Strategy`.

Example:
    from python_core.strategy.builder import close, crossover, param, sma, strategy

    fast, slow = param("fast", 10, min=5, max=50), param("slow", 30, min=20, max=200, step=10)
    cross = strategy(
        entry_long=crossover(sma(close, fast), sma(close, slow)) & (close > close[1]),
        exit_long=~(sma(close, fast) > sma(close, slow)),
        constraints=[fast < slow],
    )

All series and functions of the language can be imported from this module. Functions take arguments by position or by name, and `tf="4h"`
for a higher timeframe; `at("4h", close > open)` is for whole conditions. Write `& | ~` for and, or, not, with brackets round comparisons,
and `where(a, x, y)` for x if a else y.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from python_core.errors import StrategyError
from python_core.indicators import INDICATORS
from python_core.language.parser import parse
from python_core.language.vocabulary import FUNCTIONS, SERIES
from python_core.numerics.scalars import plain
from python_core.strategy.compile import CONDITIONS
from python_core.strategy.params import Param, Value
from python_core.strategy.strategy import Strategy

Operand: TypeAlias = "Expression | int | float"


class Expression:
    """A series, a number or a condition. `str()` gives its text in the language; `params` and `define` hold the names that it uses."""

    def __init__(self, node: ast.expr, params: dict[str, Value | Param] | None = None, define: dict[str, str] | None = None) -> None:
        self.node = node
        self.params = params or {}
        self.define = define or {}

    def __str__(self) -> str:
        try:
            return ast.unparse(self.node)
        except RecursionError:
            raise StrategyError(
                "the expression is nested too deeply", where="expression", hint="make it smaller", code="too_large"
            ) from None

    def __repr__(self) -> str:
        return f"<Expression {self}>"

    def __bool__(self) -> bool:
        hint = "use & | ~ for and, or, not, and write (a < b) & (b < c) for a < b < c"
        raise StrategyError(f"{self} is neither true nor false before a run", where="expression", hint=hint)

    # Without these, Python would call x[0], x[1], ... endlessly.
    __iter__ = None
    __contains__ = None
    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Operand) -> Expression:
        return _binary(self, ast.Add(), other)

    def __radd__(self, other: Operand) -> Expression:
        return _binary(other, ast.Add(), self)

    def __sub__(self, other: Operand) -> Expression:
        return _binary(self, ast.Sub(), other)

    def __rsub__(self, other: Operand) -> Expression:
        return _binary(other, ast.Sub(), self)

    def __mul__(self, other: Operand) -> Expression:
        return _binary(self, ast.Mult(), other)

    def __rmul__(self, other: Operand) -> Expression:
        return _binary(other, ast.Mult(), self)

    def __truediv__(self, other: Operand) -> Expression:
        return _binary(self, ast.Div(), other)

    def __rtruediv__(self, other: Operand) -> Expression:
        return _binary(other, ast.Div(), self)

    def __neg__(self) -> Expression:
        return _joined(ast.UnaryOp(ast.USub(), self.node), self)

    def __lt__(self, other: Operand) -> Expression:
        return _compared(self, ast.Lt(), other)

    def __le__(self, other: Operand) -> Expression:
        return _compared(self, ast.LtE(), other)

    def __gt__(self, other: Operand) -> Expression:
        return _compared(self, ast.Gt(), other)

    def __ge__(self, other: Operand) -> Expression:
        return _compared(self, ast.GtE(), other)

    def __eq__(self, other: Operand) -> Expression:  # type: ignore[override]
        return _compared(self, ast.Eq(), other)

    def __ne__(self, other: Operand) -> Expression:  # type: ignore[override]
        return _compared(self, ast.NotEq(), other)

    def __and__(self, other: Expression | bool) -> Expression:
        return _logical(self, ast.And(), other)

    def __rand__(self, other: Expression | bool) -> Expression:
        return _logical(other, ast.And(), self)

    def __or__(self, other: Expression | bool) -> Expression:
        return _logical(self, ast.Or(), other)

    def __ror__(self, other: Expression | bool) -> Expression:
        return _logical(other, ast.Or(), self)

    def __invert__(self) -> Expression:
        return _joined(ast.UnaryOp(ast.Not(), self.node), self)

    def __getattr__(self, name: str) -> Expression:
        """One output of a function that has several, as in `macd(close).hist`."""
        call = self.node
        function = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
        outputs = INDICATORS[function].outputs if function in INDICATORS else ()
        if name not in outputs:
            raise AttributeError(f"{self} has no {name!r}" + (f"; it has {', '.join(outputs)}" if outputs else ""))
        return _joined(ast.Attribute(call, name, ast.Load()), self)

    def __getitem__(self, bars: Operand) -> Expression:
        """The value a number of bars earlier, as in `close[1]`."""
        index = expression(bars)
        return _joined(ast.Subscript(self.node, index.node, ast.Load()), self, index)


class Function:
    """A function of the language; a call of it returns an expression."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Operand | str, **named: Operand | str) -> Expression:
        positional = [expression(argument) for argument in arguments]
        keywords = {name: expression(argument) for name, argument in named.items()}
        call = ast.Call(
            ast.Name(self.name, ast.Load()),
            [argument.node for argument in positional],
            [ast.keyword(name, argument.node) for name, argument in keywords.items()],
        )
        return _joined(call, *positional, *keywords.values())

    def __repr__(self) -> str:
        return f"<Function {self.name}>"


def expression(value: Any) -> Expression:
    """The value itself if it is an expression; otherwise a constant.

    Raises:
        StrategyError: neither an expression nor a number, bool or text.
    """
    if isinstance(value, Expression):
        return value
    value = plain(value)
    if isinstance(value, bool | int | float | str):
        return Expression(ast.Constant(value))
    raise StrategyError(
        f"{value!r:.40} can't be part of an expression", where="expression", hint="use series, numbers, params and functions"
    )


def param(name: str, default: Value, **fields: Any) -> Expression:
    """A parameter: plain, or with fields of `Param` (`min`, `max`, `step`, `choices`). The type is that of `default` unless given."""
    default = plain(default)
    if not fields:
        return Expression(_name(name), params={name: default})
    kind = "choice" if "choices" in fields else "bool" if isinstance(default, bool) else "int" if isinstance(default, int) else "float"
    choices = {"choices": tuple(map(plain, fields["choices"]))} if "choices" in fields else {}
    given = msgspec.convert({"type": kind, "default": default, **{key: plain(value) for key, value in fields.items()}, **choices}, Param)
    return Expression(_name(name), params={name: given})


def where(condition: Expression | bool, value: Operand, otherwise: Operand) -> Expression:
    """`value if condition else otherwise`, on each bar."""
    parts = [expression(part) for part in (condition, value, otherwise)]
    return _joined(ast.IfExp(*(part.node for part in parts)), *parts)


def named(name: str, value: Expression) -> Expression:
    """Give `value` a name, under which it becomes an entry of the strategy's `define`."""
    defined = expression(value)
    return _joined(_name(name), defined, define={name: str(defined)})


def strategy(
    *,
    entry_long: Expression | str = "",
    exit_long: Expression | str = "",
    entry_short: Expression | str = "",
    exit_short: Expression | str = "",
    constraints: Sequence[Expression | str] = (),
    timeframe: str | None = None,
) -> Strategy:
    """A strategy of these conditions, with the params and definitions that they use.

    Raises:
        StrategyError: as `bt.Strategy`, or a name with two meanings.
    """
    conditions = dict(zip(CONDITIONS, (entry_long, exit_long, entry_short, exit_short), strict=True))
    parts = [part for part in (*conditions.values(), *constraints) if isinstance(part, Expression)]
    used = _joined(_name("all"), *parts)
    texts: dict[str, Any] = {name: str(condition) for name, condition in conditions.items()}
    return Strategy(
        **texts,
        define=used.define,
        params=used.params,
        constraints=tuple(map(str, constraints)),
        timeframe=timeframe,
    )


def _name(name: str) -> ast.Name:
    if not isinstance(parsed := parse("name", name), ast.Name):
        raise StrategyError(f"{name!r:.60} is not a valid name", where="name", hint="use letters, digits and _, such as fast")
    return parsed


def _joined(node: ast.expr, *parts: Expression, define: dict[str, str] | None = None) -> Expression:
    result = Expression(node)
    for part in (*parts, Expression(node, define=define)):
        _merge(result.params, part.params)
        _merge(result.define, part.define)
    return result


def _merge(names: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if name in names and (names[name], type(names[name])) != (value, type(value)):
            raise StrategyError(f"{name!r} means both {names[name]} and {value}", where=name, hint="use different names")
        names[name] = value


def _binary(left: Any, operator: ast.operator, right: Any) -> Expression:
    a, b = expression(left), expression(right)
    return _joined(ast.BinOp(a.node, operator, b.node), a, b)


def _compared(left: Any, operator: ast.cmpop, right: Any) -> Expression:
    a, b = expression(left), expression(right)
    return _joined(ast.Compare(a.node, [operator], [b.node]), a, b)


def _logical(left: Any, operator: ast.boolop, right: Any) -> Expression:
    a, b = expression(left), expression(right)
    values: list[ast.expr] = []
    for part in (a, b):
        if isinstance(part.node, ast.Constant) and not isinstance(part.node.value, bool):
            raise StrategyError(
                f"{part} is neither true nor false", where="expression", hint="put brackets round comparisons: (close > 5) & ..."
            )
        flat = isinstance(part.node, ast.BoolOp) and type(part.node.op) is type(operator)
        values += part.node.values if flat else [part.node]  # type: ignore[attr-defined]
    return _joined(ast.BoolOp(operator, values), a, b)


open, high, low, close, volume, hl2, hlc3, ohlc4, hour, weekday, minute = (Expression(ast.Name(name, ast.Load())) for name in SERIES)


def __getattr__(name: str) -> Function:
    if name in FUNCTIONS:
        return Function(name)
    raise AttributeError(f"the language has no {name!r}; it has {', '.join((*SERIES, *FUNCTIONS))}")


def __dir__() -> list[str]:
    return [*SERIES, *FUNCTIONS, "named", "param", "strategy", "where"]
