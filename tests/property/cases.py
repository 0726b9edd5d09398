"""Random runs that use every rule of the contract, on prices of few values so that touches, ties and gaps happen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

import python_core as bt
from python_core.execution import LEVELS, RESTING
from tests.property.inputs import MINUTE, MONDAY, NAMES, fills, intrabars, seeds

ATR = bt.Atr(multiple=1.5, period=2)
GIVEN = "given"  # by the signals
SIZES: dict[str, tuple[float, ...]] = {
    "equity_fraction": (1.0, 0.5, 0.9),
    "fixed_notional": (400.0, 1_500.0),
    "fixed_quantity": (2.0, 7.5),
    "risk": (0.02, 0.2, 1.0),
}


class Case(NamedTuple):
    """The inputs of a run; `start` and `warm_up_from` are times."""

    bars: bt.Bars
    program: bt.Signals | bt.Strategy
    execution: bt.Execution
    start: int | None = None
    warm_up_from: int | None = None

    def run(self, engine: str) -> bt.Result:
        run: Any = bt.backtest if isinstance(self.program, bt.Strategy) else bt.simulate
        result: bt.Result = run(self.bars, self.program, self.execution, start=self.start, warm_up_from=self.warm_up_from, engine=engine)
        return result


def grid_bars(
    rng: np.random.Generator, n: int, *, minutes: int = 60, gaps: bool = False, funding: bool = False, mark: bool = False
) -> bt.Bars:
    """Bars whose prices are multiples of a half or a tenth, calm or wild, with gaps of price and, if asked for, of time."""
    unit = rng.choice([0.5, 0.1, 1.0])
    reach = int(rng.choice([2, 4, 12, 40]))
    close = 100 + np.cumsum(rng.integers(-reach, reach + 1, n)) * unit
    close = np.clip(close, 30, 300)
    jumps = rng.integers(-2 * reach, 2 * reach + 1, n) * unit * (rng.random(n) < 0.3)
    open_ = np.clip(np.concatenate(([100.0], close[:-1])) + jumps, 20, 320)
    high = np.maximum(open_, close) + rng.integers(0, reach + 1, n) * unit
    low = np.maximum(np.minimum(open_, close) - rng.integers(0, reach + 1, n) * unit, unit)
    open_, high, low, close = (np.round(column / unit) * unit for column in (open_, high, low, close))
    low, high = np.minimum.reduce([low, open_, close]), np.maximum.reduce([high, open_, close])
    steps = np.where(rng.random(n) < 0.1, rng.integers(2, 60, n), 1) if gaps else np.ones(n, dtype=np.int64)
    time = MONDAY + int(rng.integers(0, 48)) * 60 * MINUTE + (np.cumsum(steps) - 1) * minutes * MINUTE
    more: dict[str, Any] = {}
    if funding:
        stamps = np.unique(rng.choice(time, max(1, n // 4)) + rng.choice([0, 0, 17, 59_999, -1, 90_000], max(1, n // 4)))
        more["funding"] = (stamps, rng.choice([0.0001, -0.001, 0.01, 0.05, 0.3, 1.2], len(stamps), p=[0.3, 0.3, 0.2, 0.1, 0.07, 0.03]))
    if mark:
        # Near the prices, or so still that a position is ruined before it is liquidated.
        still, spread = rng.random() < 0.3, rng.choice([0.0, 1.0, 5.0]) * unit
        lows = np.full(n, 100.0) if still else np.maximum(low + rng.choice([-spread, 0, spread], n), unit)
        more["mark"] = (lows, np.full(n, 100.0) if still else np.maximum(high + rng.choice([-spread, 0, spread], n), lows))
    return bt.Bars(time, open_, high, low, close, rng.integers(0, 5, n).astype(float), timeframe=minutes, **more)


def _levels(fraction: tuple[float, ...], plain: str, long: str, short: str) -> st.SearchStrategy[Any]:
    """None, or a level of both sides or of each: fractions, distances, expressions or those of the signals."""
    for_long, for_short = st.sampled_from([*fraction, ATR, long]), st.sampled_from([*fraction, ATR, short])
    return st.one_of(
        st.none(),
        st.sampled_from([*fraction, ATR, GIVEN, GIVEN]),
        st.builds(lambda long, short: bt.PerSide(long=long, short=short), for_long, for_short),
        st.builds(lambda short: bt.PerSide(long=None, short=short), for_short),
        st.builds(lambda long: bt.PerSide(long=long, short=None), for_long),
        st.just(plain),
    )


_RULES: dict[str, st.SearchStrategy[Any]] = {
    "initial_capital": st.sampled_from([10_000.0, 3_000.0, 500.0]),
    "commission": st.sampled_from([0.0, 0.001, 0.02]),
    "maker_fee": st.sampled_from([None, 0.0, 0.0004]),
    "order_fee": st.sampled_from([0.0, 0.0, 0.0, 0.5, 20.0]),
    "slippage": st.sampled_from([0.0, 0.001, 0.02]),
    "tick": st.sampled_from([0.0, 0.0, 0.5, 0.1, 0.3, 2.0]),
    "sizing": st.sampled_from(list(SIZES)),
    "step": st.sampled_from([0.0, 0.0, 0.25, 1.0]),
    "min_notional": st.sampled_from([0.0, 0.0, 0.0, 150.0]),
    "leverage": st.sampled_from([1.0, 1.0, 3.0, 20.0, 20.0]),
    "maintenance_margin": st.sampled_from([0.005, 0.0, 0.04, 0.04]),
    "pyramiding": st.sampled_from([1, 1, 2, 4]),
    "fill": fills,
    "intrabar": intrabars,
    "stop_loss": _levels((0.01, 0.05), "close - 2", "low - 1", "high + 1"),
    "take_profit": _levels((0.01, 0.06), "close + 2", "high + 1", "low - 1"),
    "trailing_stop": _levels((0.01, 0.04), "high - low", "atr(3) + 1", "close - close[1]"),
    "trailing_activation": st.sampled_from([None, 0.01]),
    "break_even_at": st.sampled_from([None, None, 0.01]),
    "max_bars": st.sampled_from([None, None, 1, 4]),
    "partial_exits": st.sampled_from([(), (), ((0.01, 0.5),), ((0.005, 0.3), (0.02, 0.3), (0.03, 0.4)), ((0.01, 1.0),)]),
    "limit_through": st.sampled_from([0.0, 0.0, 0.005]),
    "entry_expires": st.sampled_from([1, 2, 5, 50]),
    "trading_hours": st.sampled_from([None, None, None, (("02:00", "20:00"),), (("22:00", "04:00"), ("06:00", "12:00"))]),
    "trading_days": st.sampled_from([None, None, None, (0, 1, 2, 3, 4)]),
    "flat_outside": st.booleans(),
    "max_entries_per_day": st.sampled_from([None, None, None, 1, 3]),
    "cooldown": st.sampled_from([0, 0, 0, 1, 4]),
    "risk_free": st.sampled_from([0.0, 0.03]),
    "calendar": st.sampled_from(["crypto", "exchange", "fx"]),
}


@st.composite
def rules(draw: st.DrawFn, *, given: bool, may_rest: bool = True, **fixed: Any) -> tuple[dict[str, Any], set[str]]:
    """Fields of an execution, and the names of levels that the signals bring; none if `given` is false.

    `may_rest`: whether entries may rest. `fixed`: fields that are not drawn.
    """
    # Few rules, so that each matters, or most of them, so that they meet.
    left_out = draw(st.sets(st.sampled_from(sorted(_RULES)), min_size=draw(st.sampled_from([0, 8, 16]))))
    fields = {name: draw(strategy) for name, strategy in _RULES.items() if name not in left_out}
    resting = draw(st.sampled_from([None, *RESTING])) if may_rest else None
    if resting is not None:
        up, down = ("close + 1", "close - 1") if resting == "entry_stop" else ("close - 1", "close + 1")
        fields[resting] = draw(_levels((0.005, 0.02), "sma(close, 3)", up, down).filter(lambda level: level is not None))
        fields.pop("fill", None)
    else:
        fields.pop("entry_expires", None)
    fields |= fixed
    from_signals = {name for name, value in fields.items() if isinstance(value, str) and value == GIVEN}
    for name in from_signals:
        del fields[name]
        if not given:
            fields[name] = 0.02
    if not given:
        from_signals = set()
    _make_consistent(fields, from_signals, draw)
    return fields, from_signals


def market_rules(**fixed: Any) -> st.SearchStrategy[bt.Execution]:
    """Executions whose entries don't rest; with these fields."""
    return rules(given=False, may_rest=False, **fixed).map(lambda drawn: bt.Execution(**drawn[0]))


def _make_consistent(fields: dict[str, Any], from_signals: set[str], draw: st.DrawFn) -> None:
    """Leave out what needs another rule, and complete risk sizing."""
    has = set(fields) | from_signals
    if fields.get("sizing") == "risk" and (fields.get("stop_loss") is None or isinstance(fields["stop_loss"], bt.PerSide)):
        if "stop_loss" not in from_signals:
            fields["stop_loss"] = 0.02
    sizing = fields.get("sizing", "equity_fraction")
    if draw(st.booleans()):
        fields["size"] = draw(st.sampled_from(SIZES[sizing]))
    elif sizing.startswith("fixed"):
        fields["size"] = SIZES[sizing][0]
    if not (fields.get("take_profit") or fields.get("partial_exits") or has & {"entry_limit"} or "take_profit" in from_signals):
        fields.pop("limit_through", None)
    if not (fields.get("trailing_stop") or "trailing_stop" in from_signals):
        fields.pop("trailing_activation", None)
    if not (fields.get("trading_hours") or fields.get("trading_days")):
        fields.pop("flat_outside", None)


def signal_arrays(rng: np.random.Generator, bars: bt.Bars, names: set[str], sizing: str) -> dict[str, Any]:
    """Sizes and levels of every bar, of both sides or of each, with NaN, 0 and infinity among them. Sizing by risk has stops for both sides."""
    arrays: dict[str, Any] = {}
    n, close = len(bars), bars.close
    for name in sorted(names):
        if name == "size":
            arrays[name] = np.where(rng.random(n) < 0.05, np.nan, rng.choice(SIZES[sizing], n))
            continue
        distance = rng.integers(-1, 8, n) * 0.5

        def side(sign: float, distance: np.ndarray = distance) -> np.ndarray:
            values = close + sign * distance
            return np.where(rng.random(n) < 0.06, rng.choice([np.nan, 0.0, np.inf, -np.inf, -3.0], n), values)

        if name == "trailing_stop":
            arrays[name] = side(0.0) - close + distance
        else:
            below = name in ("stop_loss", "entry_limit")
            long, short = side(-1.0 if below else 1.0), side(1.0 if below else -1.0)
            forms = [{"long": long, "short": short}, long, {"long": long}, {"short": short}]
            of_both = sizing == "risk" and name == "stop_loss"
            arrays[name] = forms[int(rng.choice(4, p=[0.8, 0.2, 0, 0] if of_both else [0.7, 0.1, 0.1, 0.1]))]
    return arrays


def arguments(signals: bt.Signals) -> dict[str, Any]:
    """The arguments of `bt.Signals` that give the same signals; levels are those of each side."""
    sides = zip(signals.levels[::2], signals.levels[1::2], strict=True)
    levels = {name: {"long": long, "short": short} for name, (long, short) in zip(LEVELS, sides, strict=True)}
    return {
        **dict(zip(NAMES, signals.masks, strict=True)),
        "size": signals.size,
        **{name: each for name, each in levels.items() if any(side is not None for side in each.values())},
    }


@st.composite
def signal_cases(draw: st.DrawFn, *, max_bars: int = 120) -> Case:
    """A run of random signals."""
    rng = np.random.default_rng(draw(seeds))
    n = draw(st.integers(2, max_bars))
    bars = _bars(draw, rng, n)
    fields, from_signals = draw(rules(given=True))
    if "size" not in fields and draw(st.integers(0, 3)) == 0:
        from_signals |= {"size"}
    density = draw(st.sampled_from([0.3, 0.1, 0.8]))
    chosen = {name: rng.random(n) < (density if name.startswith("entry") else density / 4) for name in NAMES if rng.random() < 0.85}
    chosen = chosen or {"entry_long": np.ones(n, dtype=bool)}
    arrays = signal_arrays(rng, bars, from_signals, fields.get("sizing", "equity_fraction"))
    return Case(bars, bt.Signals(**chosen, **arrays), bt.Execution(**fields), *_range(draw, bars))


@st.composite
def strategy_cases(draw: st.DrawFn, conditions: st.SearchStrategy[str], *, max_bars: int = 400) -> Case:
    """A run of a strategy with random conditions, on the timeframe of the bars or a longer one."""
    rng = np.random.default_rng(draw(seeds))
    minutes, timeframe = draw(st.sampled_from([(60, None), (60, "4h"), (15, "1h"), (15, None)]))
    bars = _bars(draw, rng, draw(st.integers(2, max_bars)), minutes=minutes)
    texts = {name: draw(conditions) if i == 0 or draw(st.booleans()) else "" for i, name in enumerate(NAMES)}
    fields, _ = draw(rules(given=False))
    try:
        strategy = bt.Strategy(**texts, timeframe=timeframe)
    except bt.StrategyError as error:
        assume("can't be built from" not in str(error))
        raise
    return Case(bars, strategy, bt.Execution(**fields), *_range(draw, bars))


def _bars(draw: st.DrawFn, rng: np.random.Generator, n: int, *, minutes: int = 60) -> bt.Bars:
    return grid_bars(rng, n, minutes=minutes, gaps=draw(st.booleans()), funding=draw(st.booleans()), mark=draw(st.booleans()))


def _range(draw: st.DrawFn, bars: bt.Bars) -> tuple[int | None, int | None]:
    """A start within the first half, and a warm-up before it, each none more often than not."""
    if draw(st.integers(0, 2)):
        return None, None
    first = draw(st.integers(0, len(bars) // 2))
    start = int(bars.time[first]) - draw(st.sampled_from([0, 1] if first else [0]))
    warm_up_from = draw(st.sampled_from([None, int(bars.time[first // 2])]))
    return start, warm_up_from
