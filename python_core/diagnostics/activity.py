"""How often conditions were true, and why a strategy doesn't trade."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from python_core.data.bars import Bars
from python_core.diagnostics.values import conditions_of, expression_compiler, strategy_bar_ms, warm_up_bars
from python_core.engine import kernel
from python_core.engine.evaluate import evaluate
from python_core.engine.strategy_bars import StrategyBars
from python_core.execution import DEFAULT, Execution
from python_core.language.normalize import at_call, is_at_call
from python_core.language.parser import parse
from python_core.strategy.strategy import Strategy


class ConditionPart(msgspec.Struct, frozen=True, kw_only=True):
    """A condition or a part of one, and the number of bars on which it was true."""

    text: Annotated[str, Meta(description="The expression.")]
    true: Annotated[int, Meta(description="Number of bars on which it was true.")]
    known: Annotated[int, Meta(description="Number of bars on which its value was defined.")]
    blocks: Annotated[int, Meta(description="Number of bars on which it was the only false part of an `and`.")] = 0
    parts: Annotated[tuple[ConditionPart, ...], Meta(description="Parts of an `and`, `or` or `not`.")] = ()


class StrategyActivity(msgspec.Struct, frozen=True, kw_only=True):
    """How often a strategy's conditions were true, and what keeps it from trading."""

    bars: Annotated[int, Meta(description="Number of bars in the strategy's timeframe.")]
    warm_up_bars: Annotated[int, Meta(description="Number of bars until every signal is defined.")]
    conditions: Annotated[dict[str, ConditionPart], Meta(description="Conditions by name, such as `entry_long`.")]
    cancelled_entries: Annotated[int, Meta(description="Number of bars with entries of both sides, which cancel each other.")]
    rejected_orders: Annotated[
        int,
        Meta(
            description="Number of entries that were too large for the account, too small for the market, or had a stop or target on the wrong side."
        ),
    ]
    filtered_entries: Annotated[
        int, Meta(description="Number of entries left out by trading hours or days, the limit of entries a day, or the cooldown.")
    ]
    expired_orders: Annotated[int, Meta(description="Number of resting entries that were removed because they expired.")]
    trades: Annotated[int, Meta(description="Number of trades.")]
    findings: Annotated[tuple[str, ...], Meta(description="What keeps the strategy from trading, in plain words; empty if nothing does.")]


def activity(bars: Bars, strategy: Strategy, execution: Execution | None = None) -> StrategyActivity:
    """Count the bars on which each condition and each of its parts was true, and find what keeps the strategy from trading.

    Raises:
        StrategyError, EngineError: as `bt.backtest`.

    Example:
        bars = bt.synthetic(500)
        bt.diagnostics.activity(bars, bt.Strategy(entry_long="close > open and rsi(close, 14) > 100")).findings
    """
    texts = conditions_of(strategy)
    counts = _PartCounts(bars, strategy, texts, DEFAULT if execution is None else execution)
    conditions = {name: counts.part(parse(name, text)) for name, text in texts.items()}
    result = kernel.backtest(bars, strategy, execution)
    long, short = (counts.values.get(texts.get(f"entry_{side}", ""), np.zeros(counts.bars, dtype=bool)) for side in ("long", "short"))
    activity = StrategyActivity(
        bars=counts.bars,
        warm_up_bars=warm_up_bars(bars, strategy),
        conditions=conditions,
        cancelled_entries=int((long & short).sum()),
        rejected_orders=result.rejected_orders,
        filtered_entries=result.filtered_entries,
        expired_orders=result.expired_orders,
        trades=len(result.trades),
        findings=(),
    )
    return msgspec.structs.replace(activity, findings=tuple(_findings(activity)))


class _PartCounts:
    """Values of all parts of conditions, on every strategy bar."""

    def __init__(self, bars: Bars, strategy: Strategy, texts: Mapping[str, str], execution: Execution) -> None:
        compiler = expression_compiler(strategy, strategy_bar_ms(bars, strategy))
        parts = {ast.unparse(part) for name, text in texts.items() for part in _parts(parse(name, text))}
        positions = {text: compiler.expression("condition", text) for text in sorted(parts)}
        rows = StrategyBars(bars, strategy.timeframe)
        results = evaluate(tuple(compiler.builder.nodes), rows, fill_at_close=execution.fill == "close")
        self.bars = len(rows)
        self.values = {text: results[position][0].astype(bool) for text, position in positions.items()}
        self._known = {text: int(results[position][1].sum()) for text, position in positions.items()}

    def part(self, node: ast.expr, blocks: int = 0) -> ConditionPart:
        """The counts of one part and, within it, of its own parts."""
        text = ast.unparse(node)
        inner: list[ConditionPart] = []
        joined, nodes = _operands(node)
        masks = [self.values[ast.unparse(each)] for each in nodes]
        for i, each in enumerate(nodes):
            only_false = 0
            if joined is ast.And:
                others = np.logical_and.reduce([mask for k, mask in enumerate(masks) if k != i])
                only_false = int((others & ~masks[i]).sum())
            inner.append(self.part(each, only_false))
        return ConditionPart(text=text, true=int(self.values[text].sum()), known=self._known[text], blocks=blocks, parts=tuple(inner))


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    yield node
    for inner in _operands(node)[1]:
        yield from _parts(inner)


def _operands(node: ast.expr) -> tuple[type | None, list[ast.expr]]:
    """The operator of a condition (and, or, not; None for anything else) and its operands, each in the timeframe around it."""
    if isinstance(node, ast.BoolOp):
        return type(node.op), node.values
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ast.Not, [node.operand]
    if isinstance(node, ast.Call) and is_at_call(node):
        joined, inner = _operands(node.args[1])
        return joined, [at_call(node.args[0], each) for each in inner]
    return None, []


def _findings(activity: StrategyActivity) -> Iterator[str]:
    entries = {name: part for name, part in activity.conditions.items() if name.startswith("entry")}
    if activity.bars <= activity.warm_up_bars:
        yield f"the data has {activity.bars:,} bars, but the first {activity.warm_up_bars:,} give no signal: use more data"
        return
    for name, condition in entries.items():
        yield from _never_true(name, condition)
    signals = sum(part.true for part in entries.values())
    if signals and activity.cancelled_entries * len(entries) == signals:
        yield "the entries of both sides are on the same bars and cancel each other"
    if not signals or activity.trades:
        return
    if activity.rejected_orders:
        rejected = f"{activity.rejected_orders:,} orders were too large for the account or too small for the market"
        yield f"{rejected}, or had a stop or target on the wrong side: check size, step, min_notional and the levels"
    if activity.filtered_entries:
        yield f"{activity.filtered_entries:,} entries were left out: check trading_hours, trading_days, max_entries_per_day and cooldown"
    if activity.expired_orders:
        yield f"{activity.expired_orders:,} resting entries expired: check entry_limit, entry_stop and entry_expires"
    explained = activity.rejected_orders + activity.filtered_entries + activity.expired_orders
    if not explained and activity.cancelled_entries * len(entries) != signals:
        yield "the only signals are on the last bar, or before the level of a stop is known"


def _never_true(name: str, part: ConditionPart) -> Iterator[str]:
    """The innermost reasons why a part was never true."""
    if part.true:
        return
    inner = [each for each in part.parts if not each.true]
    joined = _operands(parse(name, part.text))[0]
    if joined in (ast.And, ast.Or) and inner:
        for each in inner:
            yield from _never_true(name, each)
    elif joined in (ast.And, ast.Or):
        often = ", ".join(f"{each.text} on {each.true:,}" for each in part.parts)
        yield f"{name}: the parts of {part.text} were never true together ({often} bars)"
    elif not part.known:
        yield f"{name}: {part.text} was never known; it needs more bars"
    else:
        yield f"{name}: {part.text} was never true on {part.known:,} bars"
