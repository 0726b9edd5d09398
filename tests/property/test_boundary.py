"""The compiled module accepts or rejects any operations, rules and numbers; it never panics or hangs."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.engine import compiled
from python_core.language.plan import CONDITIONS
from python_core.metrics import NAMES
from tests.support.cases import CASES

MINUTE = 60_000
NUMBERS = (0.0, -0.0, 1.0, 2.0, 3.0, 14.0, 200.0, 2.5, -1.0, 1e4, 1e9, 1e300, 5e-324, 2.0**63, float("inf"), float("-inf"), float("nan"))
TIMES = (0, 1, -5, MINUTE, 10**13, 2**63 - 1, -(2**63))
LENGTHS = (1, 2, 3, 63, 64, 65, 500, 1023, 1024, 1025, 2049)
OPERATIONS = (
    *(
        "close",
        "volume",
        "time",
        "hour",
        "const",
        "const_condition",
        "sma",
        "ema",
        "rma",
        "rsi",
        "true_range",
        "shift",
        "rising",
        "falling",
        "at",
    ),
    *("at_condition", "gt", "eq", "and", "or", "not", "crossover", "crossunder", "select", "add", "div", "min", "log", "sqrt", "sign"),
)
Nodes = list[tuple[str, tuple[int, ...], tuple[float, ...], int]]


class Hostile:
    """Arguments of the right types with unvalidated values."""

    def __init__(self, seed: int) -> None:
        self.random, self.arrays = Random(seed), np.random.default_rng(seed)
        self.bars = self.random.choice(LENGTHS)

    def number(self) -> float:
        return self.random.choice(NUMBERS)

    def column(self, n: int) -> np.ndarray:
        prices = 100 + np.cumsum(self.arrays.standard_normal(n))
        match self.random.randrange(5):
            case 0:
                return np.where(self.arrays.random(n) < 0.1, self.arrays.choice(np.array(NUMBERS), n), prices)
            case 1:
                return np.full(n, self.number())
            case 2:
                return self.arrays.integers(-(2**63), 2**63 - 1, n).view(np.float64)
        return prices

    def times(self, n: int) -> np.ndarray:
        times = np.arange(n) * MINUTE
        match self.random.randrange(6):
            case 0:
                return np.where(self.arrays.random(n) < 0.1, self.random.choice(TIMES), times)
            case 1:
                return np.sort(self.arrays.integers(-(2**63), 2**63 - 1, n))
            case 2:
                return times[::-1].copy()
        return times

    def history(self) -> tuple[Any, ...]:
        """Columns, funding and mark price."""
        n, few = self.bars, self.random.randrange(5)
        columns = (self.times(n), *(self.column(n) for _ in range(5)))
        funding = self.random.choice([None, (self.times(few), self.column(few))])
        return columns, funding, self.random.choice([None, (self.column(n), self.column(n))])

    def benchmark(self) -> Any:
        length = self.random.randrange(1, 6)
        return self.random.choice([None, (self.times(length), self.column(length)), (np.array([-(2**63)]), np.array([1.0]))])

    def nodes(self, core_rs: Any) -> Nodes:
        """Operations that fit together, found by trial and error."""
        table = {name: (inputs, arguments, outputs) for name, inputs, arguments, outputs in core_rs.INDICATORS}
        nodes: Nodes = [(name, (), (), 0) for name in ("close", "open", "high", "low")] + [("gt", (0, 1), (), 0)]
        for _ in range(60):
            op = self.random.choice(OPERATIONS if self.random.random() < 0.8 else list(table))
            frame = self.random.choice((0, 0, 0, 0, 3 * MINUTE, 7 * MINUTE, self.random.choice((1, 31 * 86_400_000, 2**62))))
            inputs, arguments, outputs = table.get(op, (self.random.randrange(4), [("", 1.0, 50.0, True)] * self.random.randrange(2), 1))
            numbers = [self.random.choice((minimum, min(maximum, 50.0), 3.0, self.number())) for _, minimum, maximum, _ in arguments]
            numbers += [float(self.random.randrange(outputs))] * (outputs > 1)
            node = (op, tuple(self.random.randrange(len(nodes)) for _ in range(inputs)), tuple(numbers), frame)
            try:
                core_rs.Plan([*nodes, node], (-1,) * 4, (-1,) * 10)
            except ValueError:
                continue
            nodes.append(node)
        return nodes

    def outputs(self, nodes: Nodes) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Positions of conditions and levels."""
        ours = [i for i, node in enumerate(nodes) if node[3] == 0]
        conditions, numbers = [i for i in ours if nodes[i][0] in CONDITIONS], [i for i in ours if nodes[i][0] not in CONDITIONS]
        return tuple(self.random.choice([-1, *conditions]) for _ in range(4)), tuple(self.random.choice([-1, *numbers]) for _ in range(10))

    def execution(self, core_rs: Any) -> Any:
        choice = self.random.choice
        level = [("none", 0.0), ("fraction", 0.02), ("fraction", self.number()), ("multiple", self.number()), ("series", 0.0)]
        return core_rs.Execution(
            **{
                name: choice((0.0, 0.001, self.number()))
                for name in ("commission", "maker_fee", "order_fee", "slippage", "step", "tick", "min_notional", "maintenance_margin")
            },
            limit_through=choice((0.0, 0.0, 0.01, self.number())),
            **{name: choice((1.0, 1e4, self.number())) for name in ("initial_capital", "size", "leverage")},
            **{name: choice((None, 0.01, self.number())) for name in ("trailing_activation", "break_even_at")},
            **{name: choice((None, 0, 1, -5, 2**63 - 1, -(2**63))) for name in ("max_bars", "max_entries_per_day")},
            **{name: choice((0, 1, 3, -5, 2**63 - 1, -(2**63))) for name in ("entry_expires", "cooldown")},
            levels=[choice(level) for _ in range(6)] + [choice(level) if choice((True, False)) else ("none", 0.0) for _ in range(4)],
            trading_hours=[(choice((0, 500, -(2**63))), choice((0, 1_000, 2**63 - 1))) for _ in range(choice((0, 0, 1, 2)))],
            trading_days=choice((None, None, [], [0, 3], [6, 7, 2**63])),
            flat_outside=choice((True, False)),
            sizing=choice(("equity_fraction", "fixed_notional", "fixed_quantity", "risk")),
            fill=choice(("next_open", "close")),
            intrabar=choice(("pessimistic", "path", "optimistic")),
            calendar=choice(("crypto", "exchange", "fx")),
            risk_free=choice((0.0, 0.05, self.number())),
            pyramiding=choice((0, 1, 2, 2**32 - 1)),
            partial_exits=[(self.number(), self.number()) for _ in range(self.random.randrange(4))],
        )

    def signals(self) -> Any:
        """Masks, levels and sizes, or None."""
        if self.random.random() < 0.5:
            return None
        masks = [self.arrays.integers(0, 256, self.bars).astype(np.uint8) if self.random.random() < 0.5 else None for _ in range(4)]
        levels = [self.column(self.bars) if self.random.random() < 0.2 else None for _ in range(10)]
        return masks, levels, self.random.choice((None, None, self.column(self.bars)))


@pytest.mark.skipif(bt.engine != "rust", reason=bt.engine_reason)
@settings(
    max_examples=CASES // 2,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_hostile_call_gives_a_result_or_an_error(seed: int) -> None:
    core_rs, hostile = compiled._core_rs, Hostile(seed)
    assert core_rs is not None
    nodes, execution, history = hostile.nodes(core_rs), hostile.execution(core_rs), hostile.history()
    conditions, levels = hostile.outputs(nodes)
    base_ms = hostile.random.choice((*[MINUTE] * 20, 1, 2**63 - 1, 0, -1))
    strategy_ms = hostile.random.choice((*[base_ms] * 6, 3 * MINUTE, 7 * 86_400_000, 31 * 86_400_000, 2**62, 0))
    first = hostile.random.choice((0, 0, 0, 1, hostile.bars // 2, hostile.bars - 1, hostile.bars, 2**63))
    plan, signals, equity = core_rs.Plan(nodes, conditions, levels), hostile.signals(), np.empty(max(hostile.bars - first, 0))
    with suppress(ValueError):
        trades, excursions_pending, metrics, *_ = core_rs.run(
            *history, base_ms, plan, signals, strategy_ms, execution, first, equity, None, hostile.benchmark()
        )
        assert (len(trades) % 15, len(metrics)) == (0, len(NAMES))
        if excursions_pending:
            core_rs.fill_excursions(trades, history[0][3][first:], history[0][2][first:])
        core_rs.node_values(history[0], base_ms, plan, [0, 1], strategy_ms, hostile.random.random() < 0.5)
    template = core_rs.Template(
        [*nodes[:5], ("param", (), (0.0,), 0), ("sma", (0, 5), (), 0), ("lt", (0, 6), (), 0)], (4, 7, -1, -1), (6, 6, -1, 6, *(-1,) * 6), 1
    )
    lengths = hostile.arrays.choice(np.array(NUMBERS if hostile.random.random() < 0.3 else (1.0, 2.0, 50.0, 1e4)), 3)
    with suppress(ValueError):
        core_rs.sweep(
            *history,
            base_ms,
            template,
            lengths,
            strategy_ms,
            execution,
            first,
            (hostile.random.random() < 0.5, hostile.random.random() < 0.5),
            2,
            np.empty(3 * len(NAMES)),
            np.empty(hostile.random.choice((0, 0, 3, 7))),
            None,
            hostile.benchmark(),
        )
