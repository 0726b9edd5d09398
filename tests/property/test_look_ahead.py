"""Later bars never change earlier results, for any timeframes, gaps, closed hours, rules and fills."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.data.timeframes import MILLISECONDS, align, fits, shift
from tests.support.cases import CASES

# Bars, and a timeframe that they fit into.
PAIRS = [(base, coarse) for base, length in MILLISECONDS.items() for coarse, longer in MILLISECONDS.items() if fits(length, longer)]

CONDITIONS = st.sampled_from(
    [
        "close > close[1]",
        "close < sma(close, 3)",
        "crossover(close, sma(close, 4))",
        "crossunder(ema(close, 3), hlc3)",
        "rsi(close, 3) < 35",
        "high - low > atr(3) and volume > 0",
        "not close > open",
        "True",
        "at(coarse, close > open)",
        "close > at(coarse, sma(close, 2))",
        "crossover(at(coarse, high), close[1])",
        "at(coarse, rising(volume, 1)) or hour < 6",
    ]
)
WEEKLY = "at('1w', low)"
LEVELS = st.sampled_from([None, None, 0.004, 0.02, bt.Atr(multiple=1.5, period=3), "low - atr(2)", "close * 1.01", WEEKLY])


@st.composite
def rules(draw: st.DrawFn) -> bt.Execution:
    sizing, size = draw(st.sampled_from([("equity_fraction", 0.9), ("fixed_quantity", 2.0), ("risk", 0.05)]))
    stop = draw(LEVELS)
    trailing = draw(st.sampled_from([None, None, 0.01, bt.Atr(multiple=1, period=2), "high - low"]))
    return bt.Execution(
        commission=draw(st.sampled_from([0, 0.001])),
        slippage=draw(st.sampled_from([0, 0.002])),
        sizing=sizing,
        size=size,
        step=draw(st.sampled_from([0, 0, 0.5])),
        leverage=draw(st.sampled_from([1, 1, 5, 50])),
        pyramiding=draw(st.sampled_from([1, 1, 3])),
        fill=draw(st.sampled_from(["next_open", "close"])),
        intrabar=draw(st.sampled_from(["pessimistic", "path", "optimistic"])),
        stop_loss=0.02 if sizing == "risk" and stop is None else stop,
        take_profit=draw(LEVELS),
        trailing_stop=trailing,
        trailing_activation=draw(st.sampled_from([None, 0.005])) if trailing else None,
        break_even_at=draw(st.sampled_from([None, None, 0.005])),
        max_bars=draw(st.sampled_from([None, None, 1, 4])),
        partial_exits=draw(st.sampled_from([(), (), ((0.005, 0.5),)])),
    )


def columns(rng: np.random.Generator, n: int) -> list[np.ndarray]:
    """open, high, low, close, volume, and a mark's low and high."""
    close = 100 * np.exp(np.cumsum(rng.standard_normal(n) * 0.01))
    open_ = np.concatenate(([100.0], close[:-1])) * (1 + rng.standard_normal(n) * 0.002 * (rng.random(n) < 0.3))
    high = np.maximum(open_, close) * (1 + np.abs(rng.standard_normal(n)) * 0.005)
    low = np.minimum(open_, close) / (1 + np.abs(rng.standard_normal(n)) * 0.005)
    return [open_, high, low, close, rng.integers(0, 3, n).astype(float), low * 0.999, high * 1.001]


def open_times(rng: np.random.Generator, n: int, pair: tuple[str, str], *, sessions: bool) -> np.ndarray:
    """Times of bars with gaps; in `sessions`, only those at the start of each bar of the coarser timeframe exist."""
    length, longer = (MILLISECONDS[name] for name in pair)
    ratio = longer // length
    start = align(MILLISECONDS["1w"] * 2_700, longer)
    if sessions:
        opens = int(rng.integers(1, min(ratio, 20) + 1))
        return np.array([shift(shift(start, longer, k // opens), length, k % opens) for k in range(n)])
    # Some steps are as long as the coarser bars, so that few bars make many of them.
    steps = np.where(rng.random(n) < (0.02 if ratio < 20 else 0.5), rng.integers(1, 2 + ratio, n), 1)
    return np.array([shift(start, length, k) for k in (int(rng.integers(0, ratio)) + np.cumsum(steps)).tolist()])


@settings(max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    pair=st.sampled_from(PAIRS),
    between=st.integers(0, len(MILLISECONDS)),
    sessions=st.booleans(),
    after=st.sampled_from(["nothing", "other bars", "flat bars"]),
    texts=st.tuples(CONDITIONS, CONDITIONS, st.one_of(st.just(""), CONDITIONS), CONDITIONS),
    ready_made=st.booleans(),
    extras=st.booleans(),
    execution=rules(),
)
def test_later_bars_change_nothing_at_or_before_a_bar(
    seed: int,
    pair: tuple[str, str],
    between: int,
    sessions: bool,
    after: str,
    texts: tuple[str, str, str, str],
    ready_made: bool,
    extras: bool,
    execution: bt.Execution,
) -> None:
    rng = np.random.default_rng(seed)
    base, coarse = pair
    length = MILLISECONDS[base]
    # The strategy's own timeframe lies between the bars' and the one in its conditions.
    own = [name for name, ms in MILLISECONDS.items() if fits(length, ms) and fits(ms, MILLISECONDS[coarse])]
    timeframe = own[between % len(own)]
    n = int(rng.integers(2, 400))
    cut = int(rng.integers(0, n - 1))
    note(f"cut after bar {cut} of {n}")
    if not fits(length if ready_made else MILLISECONDS[timeframe], MILLISECONDS["1w"]):
        levels = {name: "low" for name in ("stop_loss", "take_profit") if getattr(execution, name) == WEEKLY}
        execution = msgspec.structs.replace(execution, **levels)
    time = open_times(rng, n, pair, sessions=sessions)
    times = np.unique(rng.integers(time[0], time[-1] + 1, 1 + n // 5))
    funding = (times, rng.standard_normal(len(times)) * 0.001) if extras else None
    before = columns(rng, n)
    masks = rng.random((4, n)) < 0.2

    def run(columns: list[np.ndarray], masks: np.ndarray, bars: int, funding: Any) -> bt.Result:
        history = bt.Bars(
            time[:bars],
            *(column[:bars] for column in columns[:5]),
            timeframe=base,
            funding=funding,
            mark=(columns[5][:bars], columns[6][:bars]) if extras else None,
        )
        if ready_made:
            return bt.simulate(history, bt.Signals(*(mask[:bars] for mask in masks)), execution)
        names = ("entry_long", "exit_long", "entry_short", "exit_short")
        strategy = bt.Strategy(**dict(zip(names, texts, strict=True)), timeframe=timeframe, params={"coarse": coarse})
        return bt.backtest(history, strategy, execution)

    whole = run(before, masks, n, funding)
    if after == "nothing":
        other = run(before, masks, cut + 1, funding)
    else:
        if after == "other bars":
            changed = columns(rng, n)
        else:
            still = before[3][cut]
            changed = [np.full(n, value) for value in (still, still, still, still, 0.0, still, still)]
        if extras:
            times, rates = funding  # type: ignore[misc]
            # A payment counts at the whole minute before its stamp.
            keep = times // 60_000 * 60_000 <= time[cut]
            funding = (times[keep], rates[keep])
        joined = [np.concatenate((old[: cut + 1], new[cut + 1 :])) for old, new in zip(before, changed, strict=True)]
        other = run(joined, np.concatenate((masks[:, : cut + 1], np.zeros((4, n - cut - 1), dtype=bool)), axis=1), n, funding)
    if after == "nothing":
        assert_same_before_the_end(whole, other, cut, execution)
    else:
        np.testing.assert_array_equal(whole.equity[: cut + 1], other.equity[: cut + 1])
        a, b = ([trade for trade in result.trades.array.tolist() if trade[3] <= cut] for result in (whole, other))
        assert a == b


def assert_same_before_the_end(a: bt.Result, b: bt.Result, cut: int, execution: bt.Execution) -> None:
    """Equal up to bar `cut`, where the data of `b` end, except for exits at the end of data."""
    np.testing.assert_array_equal(a.equity[:cut], b.equity[:cut])
    past_a, past_b = (
        [trade for trade in result.trades.array.tolist() if trade[3] < cut or (trade[3] == cut and not fills_at_close(trade, execution))]
        for result in (a, b)
    )
    assert past_a == past_b
    # Both have the same open positions then; later trades show their first entries. An entry at the last close may be missing.
    open_a, open_b = (
        {(trade[2], trade[4]) for trade in result.trades.array.tolist() if trade[2] <= cut and trade not in past_a} for result in (a, b)
    )
    if execution.fill == "close":
        open_a, open_b = ({(entry, side) for entry, side in opened if entry < cut} for opened in (open_a, open_b))
    assert open_a == open_b


def fills_at_close(trade: tuple[Any, ...], execution: bt.Execution) -> bool:
    """Whether a trade may have ended at its bar's close: end of data, ruin, or a signal that fills there."""
    reason = trade[5]
    return reason in (9, 10) or (execution.fill == "close" and reason in (0, 1))
