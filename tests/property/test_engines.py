"""The compiled engine and the Python reference give the same bits for any bars, signals and rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.data.timeframes import MILLISECONDS, series
from python_core.engine.result import Counts
from tests.property.cases import Case, signal_cases, strategy_cases
from tests.support.cases import CASES
from tests.support.marks import needs_rust

NEED_EQUITY = frozenset(
    "volatility sharpe sortino calmar omega max_drawdown max_drawdown_duration average_drawdown ulcer_index recovery_factor value_at_risk_95"
    " conditional_value_at_risk_95 tail_ratio skew kurtosis beta alpha tracking_error information_ratio".split()
)
WITHOUT_EQUITY = tuple(name for name in bt.metrics.NAMES if name not in NEED_EQUITY)
COUNTED = ("final_equity", "trades", "long_trades", "short_trades", "exposure", "turnover")

thorough = settings(
    max_examples=CASES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TIMEFRAMES = {name: MILLISECONDS[name] for name in ("1s", "1m", "1h", "1d", "1w", "1M")}


def random_bars(rng: np.random.Generator, n: int, timeframe: str, style: str, *, gaps: bool, extras: bool) -> bt.Bars:
    """Bars with ties (whole ticks), gaps in time and price, flat stretches, zero volume and extreme prices."""
    scale = {"ticks": 100.0, "tiny": 1e-7, "huge": 3e9}.get(style, 50.0)
    move = rng.standard_normal(n) * {"wild": 0.2, "flat": 0.0005}.get(style, 0.01)
    close = scale * np.exp(np.clip(np.cumsum(move), -12, 12))
    open_ = np.concatenate(([scale], close[:-1])) * (1 + rng.standard_normal(n) * 0.003 * (rng.random(n) < 0.3))
    if style == "jumps":
        close *= np.where(rng.random(n) < 0.05, rng.uniform(0.2, 5.0, n), 1.0)
    spread = np.abs(rng.standard_normal(n)) * 0.01 * (rng.random(n) < 0.8)
    high = np.maximum(open_, close) * (1 + spread)
    low = np.minimum(open_, close) / (1 + spread * rng.random(n))
    if style in ("ticks", "flat"):
        open_, high, low, close = (np.maximum(np.round(column), 1.0) for column in (open_, high, low, close))
        high, low = np.maximum.reduce([high, open_, close]), np.minimum.reduce([low, open_, close])
    volume = np.where(rng.random(n) < 0.2, 0.0, np.exp(rng.standard_normal(n) * 4))
    length = TIMEFRAMES[timeframe]
    steps = np.where(rng.random(n) < 0.05, rng.integers(2, 2000, n), 1) if gaps else np.ones(n, dtype=np.int64)
    if timeframe == "1M":
        time = series(0, length, 12 * 8_000)[np.cumsum(np.minimum(steps, 40))]
    else:
        time = 1_600_000_000_000 // length * length + int(rng.integers(0, 2)) * 60_000 + np.cumsum(steps) * length
    funding = mark = None
    if extras:
        times = np.unique(rng.integers(time[0] - length, time[-1] + length, max(1, n // 8)))
        funding = (times, rng.standard_normal(len(times)) * 0.001)
        mark = (low * (1 - rng.random(n) * 0.01), high * (1 + rng.random(n) * 0.01))
    return bt.Bars(time, open_, high, low, close, volume, timeframe=timeframe, funding=funding, mark=mark)


def level(*, fraction: float) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.floats(0.001, fraction),
        st.builds(bt.Atr, multiple=st.floats(0.1, 5), period=st.integers(1, 20)),
    )


executions = st.builds(
    dict,
    commission=st.sampled_from([0.0, 0.0006, 0.01]),
    slippage=st.sampled_from([0.0, 0.0002, 0.02]),
    sizing_and_size=st.sampled_from(
        [("equity_fraction", 1.0), ("equity_fraction", 0.3), ("fixed_notional", 2500.0), ("fixed_quantity", 3.0), ("risk", 0.02)]
    ),
    step=st.sampled_from([0.0, 0.0, 0.001, 1.0]),
    min_notional=st.sampled_from([0.0, 0.0, 100.0]),
    leverage=st.sampled_from([1.0, 1.0, 2.0, 10.0, 75.0]),
    pyramiding=st.sampled_from([1, 1, 1, 2, 5]),
    fill=st.sampled_from(["next_open", "next_open", "close"]),
    intrabar=st.sampled_from(["pessimistic", "path", "optimistic"]),
    stop_loss=st.one_of(level(fraction=0.2), st.sampled_from(["low * 0.99", "close[2]", "sma(close, 3)"])),
    take_profit=st.one_of(level(fraction=0.5), st.sampled_from(["high * 1.02", "ema(close, 5)"])),
    trailing_stop=st.one_of(st.none(), st.none(), level(fraction=0.1), st.sampled_from(["atr(3) * 2", "close - close[1]"])),
    trailing_activation=st.sampled_from([None, None, 0.01]),
    break_even_at=st.sampled_from([None, None, 0.005]),
    max_bars=st.sampled_from([None, None, 1, 3, 20]),
    partial_exits=st.sampled_from([(), (), ((0.01, 0.5),), ((0.005, 0.3), (0.02, 0.3), (0.03, 0.4)), ((0.001, 1.0),)]),
    calendar=st.sampled_from(["crypto", "exchange", "fx"]),
    risk_free=st.sampled_from([0.0, 0.0, 0.03, -0.01]),
)


def execution(fields: dict[str, Any]) -> bt.Execution:
    fields = dict(fields)
    fields["sizing"], fields["size"] = fields.pop("sizing_and_size")
    if fields["sizing"] == "risk" and fields["stop_loss"] is None:
        fields["stop_loss"] = 0.03
    if fields["trailing_stop"] is None:
        fields["trailing_activation"] = None
    return bt.Execution(**fields)


simple = st.fixed_dictionaries(
    {
        "leverage": st.sampled_from([1.0, 3.0, 20.0]),
        "stop_loss": st.sampled_from([None, 0.003, 0.02, bt.Atr(multiple=1.5)]),
        "take_profit": st.sampled_from([None, 0.006, 0.04]),
        "intrabar": st.sampled_from(["pessimistic", "path", "optimistic"]),
        "slippage": st.sampled_from([0.0, 0.0005]),
    }
).map(lambda fields: bt.Execution(**fields))

rules = st.one_of(executions.map(execution), simple)
styles = st.sampled_from(["normal", "ticks", "tiny", "huge", "wild", "flat", "jumps"])
lengths = st.one_of(st.integers(1, 80), st.integers(900, 2300))


def assert_equal_bits(case: Case) -> None:
    python, rust = case.run("python"), case.run("rust")
    np.testing.assert_array_equal(rust.equity.view(np.int64), python.equity.view(np.int64), "equity")
    assert len(rust.trades) == len(python.trades)
    for field in rust.trades.array.dtype.names:
        a, b = (np.ascontiguousarray(result.trades.array[field]).view(np.int64) for result in (rust, python))
        np.testing.assert_array_equal(a, b, field)
    for name in Counts._fields:
        assert getattr(rust, name) == getattr(python, name), name
    assert rust.metrics == python.metrics
    assert rust.digest == python.digest
    assert rust.fingerprint == python.fingerprint


@needs_rust
@thorough
@given(
    seed=st.integers(0, 2**32 - 1),
    n=lengths,
    timeframe=st.sampled_from(list(TIMEFRAMES)),
    style=styles,
    gaps=st.booleans(),
    extras=st.booleans(),
    density=st.sampled_from([0.0, 0.002, 0.017, 0.1, 0.5, 1.0]),
    rules=rules,
)
def test_both_engines_give_the_same_bits_for_any_signals(
    seed: int, n: int, timeframe: str, style: str, gaps: bool, extras: bool, density: float, rules: bt.Execution
) -> None:
    rng = np.random.default_rng(seed)
    bars = random_bars(rng, n, timeframe, style, gaps=gaps, extras=extras)
    names = ["entry_long", "exit_long", "entry_short", "exit_short"]
    chosen = [name for name in names if rng.random() < 0.7] or ["entry_long"]
    note(f"{chosen} {rules}")
    assert_equal_bits(Case(bars, bt.Signals(**{name: rng.random(n) < density for name in chosen}), rules))


SERIES = [
    "close",
    "open",
    "hl2",
    "ohlc4",
    "volume",
    "close[1]",
    "sma(close, 3)",
    "sma(volume, 5)",
    "ema(close, 4)",
    "rma(hl2, 6)",
    "sma(close, 40)",
    "log(close)",
    "abs(close - open)",
    "max(open, sma(close, 3), close[2])",
    "min(close, ema(close, 4))",
    "sqrt(volume) * sign(close - close[1])",
    "exp(-abs(close / open - 1))",
    "(close if close > sma(close, 5) else low[1])",
    "(hour + weekday - minute)",
    "at('1w', close)",
    "at('1M', sma(close, 2))",
    "at('2h', sma(close, 3)) * 1",
    "ema(hl2, 4, tf='1d')",
    "at('1d', close - at('1w', open)) + close",
    "at('4h', highest(high, 3).bars)",
]
CONDITIONS = [
    "crossover({a}, {b})",
    "crossunder({a}, {b})",
    "{a} > {b}",
    "not {a} <= {b}",
    "{a} != {b} and close >= close[1]",
    "rsi(close, 5) < 40 or {a} > {b}",
    "low < {a} < high",
    "sma({a} / {b}, 4) > 1.0",
    "ema({a} - {b}, 3) > 0",
    "true_range() > atr(4) and {a} == {a}",
    "crossover({a}, 50) or crossunder(rsi({b}, 3), 60)",
    "sma(sma({a}, 3) - {b}, 7) < 0",
    "at('1w', {a} > {b})",
    "at('4h', crossover({a}, close[1])) or {b} > close",
    "not at('1d', rising({a}, 2))",
]
conditions = st.builds(
    lambda text, a, b: text.format(a=a, b=b), st.sampled_from(CONDITIONS), st.sampled_from(SERIES), st.sampled_from(SERIES)
)


@needs_rust
@thorough
@given(
    seed=st.integers(0, 2**32 - 1),
    n=lengths,
    base_and_timeframe=st.sampled_from(
        [("1m", None), ("1m", "5m"), ("1m", "1h"), ("1h", "4h"), ("1h", "1w"), ("1d", "1w"), ("1m", "1d"), ("1d", "1M"), ("1h", "3d")]
    ),
    style=styles,
    gaps=st.booleans(),
    texts=st.tuples(conditions, st.one_of(st.just(""), conditions), st.one_of(st.just(""), conditions), st.one_of(st.just(""), conditions)),
    rules=rules,
)
def test_both_engines_give_the_same_bits_for_any_strategy(
    seed: int,
    n: int,
    base_and_timeframe: tuple[str, str | None],
    style: str,
    gaps: bool,
    texts: tuple[str, str, str, str],
    rules: bt.Execution,
) -> None:
    base, timeframe = base_and_timeframe
    bars = random_bars(np.random.default_rng(seed), n, base, style, gaps=gaps, extras=False)
    names = ["entry_long", "exit_long", "entry_short", "exit_short"]
    try:
        strategy = bt.Strategy(**dict(zip(names, texts, strict=True)), timeframe=timeframe)
        bt.backtest(bars[:1], strategy, engine="python")
    except bt.StrategyError as error:
        assume("can't be built from" not in str(error))
        raise
    assert_equal_bits(Case(bars, strategy, rules))


@needs_rust
@thorough
@given(case=signal_cases())
def test_both_engines_give_the_same_bits_for_any_rules(case: Case) -> None:
    note(f"{case.execution} from {case.start}, warm-up from {case.warm_up_from}")
    assert_equal_bits(case)


@needs_rust
@thorough
@given(case=strategy_cases(conditions))
def test_both_engines_give_the_same_bits_for_any_rules_of_a_strategy(case: Case) -> None:
    note(f"{case.program} {case.execution} from {case.start}, warm-up from {case.warm_up_from}")
    assert_equal_bits(case)


@needs_rust
@thorough
@given(
    seed=st.integers(0, 2**32 - 1),
    n=lengths,
    base_and_timeframe=st.sampled_from([("1m", None), ("1m", "5m"), ("1h", "4h"), ("1d", None)]),
    style=styles,
    gaps=st.booleans(),
    extras=st.booleans(),
    signal=st.sampled_from(["sma(close, length)", "close[length]", "highest(close, length)[1]"]),
    rules=rules,
)
def test_a_sweep_gives_the_metrics_of_single_runs_for_any_rules(
    seed: int,
    n: int,
    base_and_timeframe: tuple[str, str | None],
    style: str,
    gaps: bool,
    extras: bool,
    signal: str,
    rules: bt.Execution,
) -> None:
    base, timeframe = base_and_timeframe
    bars = random_bars(np.random.default_rng(seed), n, base, style, gaps=gaps, extras=extras)
    above, below = f"crossover(close, {signal})", f"crossunder(close, {signal})"
    strategy = bt.Strategy(
        entry_long=above, exit_long=below, entry_short=below, exit_short=above, params={"length": 2}, timeframe=timeframe
    )
    grid = {"length": [1, 2, 7]}
    swept, without_equity, counted = (
        bt.sweep(bars, strategy, grid, rules, objective="final_equity", metrics=metrics, returns=metrics is None, engine="rust")
        for metrics in (None, WITHOUT_EQUITY, COUNTED)
    )
    names = bt.metrics.NAMES
    for i in range(3):
        single = bt.backtest(bars, swept.strategy(i), rules, engine="rust")
        for found, asked in ((swept, names), (without_equity, WITHOUT_EQUITY), (counted, COUNTED)):
            expected = [
                value if name in asked and not name.endswith("sqn") else np.nan for name, value in zip(names, single.values, strict=True)
            ]
            np.testing.assert_array_equal(found.values[i], expected)
        assert swept.returns is not None
        ends = np.searchsorted(bars.time, swept.return_times)
        before = np.append(rules.initial_capital, single.equity[ends[:-1]])
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(swept.returns[i], single.equity[ends] / before - 1)
