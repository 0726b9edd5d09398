"""A strategy in plain words."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from python_core.indicators import INDICATORS
from python_core.language.normalize import desugar, is_at_call
from python_core.strategy.compile import compile_plan
from python_core.strategy.params import Param, Value

if TYPE_CHECKING:
    from python_core.strategy.strategy import Strategy

ACTIONS: Final = {
    "entry_long": "Buy when",
    "exit_long": "Close a long position when",
    "entry_short": "Sell short when",
    "exit_short": "Close a short position when",
}
OPERATORS: Final[dict[type, str]] = {ast.Add: "plus", ast.Sub: "minus", ast.Mult: "times", ast.Div: "divided by"}
RELATIONS: Final[dict[type, str]] = {
    ast.Lt: "is below",
    ast.LtE: "is at most",
    ast.Gt: "is above",
    ast.GtE: "is at least",
    ast.Eq: "equals",
    ast.NotEq: "differs from",
}
NAMES: Final = {
    "open": "the open",
    "high": "the high",
    "low": "the low",
    "close": "the close",
    "volume": "the volume",
    "hl2": "the average of high and low",
    "hlc3": "the average of high, low and close",
    "ohlc4": "the average of open, high, low and close",
    "hour": "the hour (UTC)",
    "weekday": "the weekday (UTC, 0 is Monday)",
    "minute": "the minute of the hour",
}
# {0} is the first argument. Functions that are not listed are named by the first words of their description.
PHRASES: Final = {
    "crossover": "{0} crosses above {1}",
    "crossunder": "{0} crosses below {1}",
    "rising": "{0} has risen on each of the last {1} bars",
    "falling": "{0} has fallen on each of the last {1} bars",
    "abs": "the absolute value of {0}",
    "log": "the logarithm of {0}",
    "exp": "the exponential of {0}",
    "sqrt": "the square root of {0}",
    "sign": "the sign of {0}",
    "sma": "the {1}-bar simple average of {0}",
    "ema": "the {1}-bar exponential average of {0}",
    "rma": "the {1}-bar Wilder average of {0}",
    "rsi": "the {1}-bar RSI of {0}",
    "atr": "the {0}-bar average true range",
}
# Expressions that need no brackets as operands.
UNBRACKETED: Final = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript, ast.IfExp)


def explain(strategy: Strategy) -> str:
    """Describe what the strategy does, one sentence a line: its signals, names, parameters, constraints and warm-up."""
    frame = "every bar" if strategy.timeframe is None else f"every {strategy.timeframe} bar"
    lines = [f"At the close of {frame}:"]
    for name, action in ACTIONS.items():
        if text := strategy.condition(name):
            lines.append(f"- {action} {phrase(text, name)}.")
    for side in ("long", "short"):
        if getattr(strategy, f"entry_{side}").strip() and not getattr(strategy, f"exit_{side}").strip():
            lines.append(f"- No signal closes a {side} position: an opposite entry, a stop or the end of the data does.")
    define = strategy.canonical()["define"]
    lines += [f"Here {name} is {phrase(define[name], name)}." for name in strategy.define]
    lines += [f"Parameter {name} is {_param(param)}." for name, param in strategy.params.items()]
    lines += [f"Constraint: {phrase(text, 'constraints')}." for text in strategy.constraints]
    plan = compile_plan(strategy, ())
    unit = "minutes" if strategy.timeframe is None and plan.uses_higher_timeframes else "bars"
    lines.append(f"The first {plan.warm_up:,} {unit} give no signal." if plan.warm_up else "The first bar may give a signal.")
    return "\n".join(lines)


def phrase(text: str, where: str = "expression") -> str:
    """Describe one expression in plain words."""
    return _words(desugar(where, text))


def _words(node: ast.expr) -> str:
    return _WRITERS.get(type(node), ast.unparse)(node)


def _constant(node: ast.Constant) -> str:
    return {"True": "always", "False": "never"}.get(str(node.value), str(node.value))


def _bool_op(node: ast.BoolOp) -> str:
    word = " and " if isinstance(node.op, ast.And) else " or "
    return word.join(f"({_words(value)})" if isinstance(value, ast.BoolOp) else _words(value) for value in node.values)


def _compare(node: ast.Compare) -> str:
    pairs = zip(node.ops, node.comparators, strict=True)
    return f"{_words(node.left)} " + " and ".join(f"{RELATIONS[type(op)]} {_words(value)}" for op, value in pairs)


def _bin_op(node: ast.BinOp) -> str:
    if type(node.op) not in OPERATORS:
        return ast.unparse(node)
    left, right = (_words(part) if isinstance(part, UNBRACKETED) else f"({_words(part)})" for part in (node.left, node.right))
    return f"{left} {OPERATORS[type(node.op)]} {right}"


def _unary_op(node: ast.UnaryOp) -> str:
    inner = _words(node.operand)
    if isinstance(node.op, ast.Not):
        return f"not ({inner})"
    if isinstance(node.operand, ast.Constant):
        return f"-{inner}"
    return f"the negative of {inner if isinstance(node.operand, UNBRACKETED) else f'({inner})'}"


def _if_exp(node: ast.IfExp) -> str:
    return f"({_words(node.body)} if {_words(node.test)}, else {_words(node.orelse)})"


def _subscript(node: ast.Subscript) -> str:
    value, bars = _words(node.value), _words(node.slice)
    return f"{value if isinstance(node.value, UNBRACKETED) else f'({value})'} {bars} {'bar' if bars == '1' else 'bars'} ago"


def _call(node: ast.Call) -> str:
    if is_at_call(node):
        return f"{_words(node.args[1])} (on {_words(node.args[0])} bars)"
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    arguments = [_words(argument) for argument in node.args]
    if name in ("min", "max"):
        return f"the {'smallest' if name == 'min' else 'largest'} of {', '.join(arguments[:-1])} and {arguments[-1]}"
    if name in PHRASES and PHRASES[name].count("{") == len(arguments):
        return PHRASES[name].format(*arguments)
    indicator = INDICATORS.get(name)
    inputs = len(arguments) if indicator is None else len(indicator.conditions) + len(indicator.series)
    of = f" of {' and '.join(arguments[:inputs])}" if arguments[:inputs] else ""
    numbers = f" ({', '.join(arguments[inputs:])})" if arguments[inputs:] else ""
    return f"the {title(name)}{of}{numbers}"


def _attribute(node: ast.Attribute) -> str:
    return f"the {node.attr.replace('_', ' ')} of {_words(node.value)}"


def title(function: str) -> str:
    """A function's name in words: the first words of its description, or else its own name."""
    doc = INDICATORS[function].description if function in INDICATORS else None
    words = re.split(r"[.,:;(]", doc.strip())[0].strip() if doc else ""
    short = words and len(words) <= 60
    return (words if words[:2].isupper() else words[0].lower() + words[1:]) if short else function.replace("_", " ")


_WRITERS: Final[dict[type, Callable[..., str]]] = {
    ast.Constant: _constant,
    ast.Name: lambda node: NAMES.get(node.id, node.id),
    ast.BoolOp: _bool_op,
    ast.Compare: _compare,
    ast.BinOp: _bin_op,
    ast.UnaryOp: _unary_op,
    ast.IfExp: _if_exp,
    ast.Subscript: _subscript,
    ast.Call: _call,
    ast.Attribute: _attribute,
}


def _param(param: Value | Param) -> str:
    if not isinstance(param, Param):
        return str(param)
    limits = [
        f"{word} {limit}" for word, limit in (("from", param.min), ("to", param.max), ("in steps of", param.step)) if limit is not None
    ]
    if param.choices:
        limits = [f"one of {', '.join(map(str, param.choices))}"]
    return f"{param.default} ({' '.join(limits)})" if limits else str(param.default)
