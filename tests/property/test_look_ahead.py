"""Later bars never change earlier results, for any timeframes, gaps, closed hours, rules and fills."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import python_core as bt
from python_core.data.timeframes import MILLISECONDS, align, fits, shift
from python_core.trades import END, REVERSAL, RUIN, SIGNAL
from tests.property.cases import rules, signal_arrays
from tests.property.inputs import NAMES
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


@st.composite
def executions(draw: st.DrawFn, *, ready_made: bool) -> tuple[bt.Execution, set[str]]:
    """Any rules, some with levels from weekly bars, and the names of the levels that ready-made signals bring."""
    fields, given = draw(rules(given=ready_made))
    weekly = draw(st.sets(st.sampled_from(["stop_loss", "take_profit"]), max_size=1)) - given
    return bt.Execution(**{**fields, **dict.fromkeys(weekly, WEEKLY)}), given


def columns(rng: np.random.Generator, n: int, *, whole: bool) -> list[np.ndarray]:
    """open, high, low, close, volume, and a mark's low and high; in `whole` numbers, prices often meet levels exactly."""
    close = 100 * np.exp(np.cumsum(rng.standard_normal(n) * 0.01))
    open_ = np.concatenate(([100.0], close[:-1])) * (1 + rng.standard_normal(n) * 0.002 * (rng.random(n) < 0.3))
    high = np.maximum(open_, close) * (1 + np.abs(rng.standard_normal(n)) * 0.005)
    low = np.minimum(open_, close) / (1 + np.abs(rng.standard_normal(n)) * 0.005)
    if whole:
        open_, high, low, close = (np.round(column) for column in (open_, high, low, close))
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
    data=st.data(),
    extras=st.booleans(),
    whole_prices=st.booleans(),
    ranged=st.booleans(),
)
def test_later_bars_change_nothing_at_or_before_a_bar(
    seed: int,
    pair: tuple[str, str],
    between: int,
    sessions: bool,
    after: str,
    texts: tuple[str, str, str, str],
    ready_made: bool,
    data: st.DataObject,
    extras: bool,
    whole_prices: bool,
    ranged: bool,
) -> None:
    rng = np.random.default_rng(seed)
    execution, given = data.draw(executions(ready_made=ready_made))
    base, coarse = pair
    length = MILLISECONDS[base]
    # The strategy's own timeframe lies between the bars' and the one in its conditions.
    own = [name for name, ms in MILLISECONDS.items() if fits(length, ms) and fits(ms, MILLISECONDS[coarse])]
    timeframe = own[between % len(own)]
    n = int(rng.integers(2, 400))
    cut = int(rng.integers(0, n - 1))
    first = int(rng.integers(0, cut + 1)) if ranged else 0
    note(f"from bar {first}, cut after bar {cut} of {n}")
    if not fits(length if ready_made else MILLISECONDS[timeframe], MILLISECONDS["1w"]):
        levels = {name: "low" for name in ("stop_loss", "take_profit") if getattr(execution, name) == WEEKLY}
        execution = msgspec.structs.replace(execution, **levels)
    time = open_times(rng, n, pair, sessions=sessions)
    times = np.unique(rng.integers(time[0], time[-1] + 1, 1 + n // 5))
    funding = (times, rng.standard_normal(len(times)) * 0.001) if extras else None
    before = columns(rng, n, whole=whole_prices)
    masks = rng.random((4, n)) < 0.2
    arrays = signal_arrays(rng, bt.Bars(time, *before[:5], timeframe=base), given, execution.sizing)
    span = {"start": int(time[first]), "warm_up_from": int(time[first // 2])} if ranged else {}

    def run(columns: list[np.ndarray], masks: np.ndarray, bars: int, funding: Any) -> bt.Result:
        history = bt.Bars(
            time[:bars],
            *(column[:bars] for column in columns[:5]),
            timeframe=base,
            funding=funding,
            mark=(columns[5][:bars], columns[6][:bars]) if extras else None,
        )
        if ready_made:
            return bt.simulate(history, bt.Signals(*masks, **arrays)[:bars], execution, **span)
        strategy = bt.Strategy(**dict(zip(NAMES, texts, strict=True)), timeframe=timeframe, params={"coarse": coarse})
        return bt.backtest(history, strategy, execution, **span)

    whole = run(before, masks, n, funding)
    if after == "nothing":
        other = run(before, masks, cut + 1, funding)
    else:
        if after == "other bars":
            changed = columns(rng, n, whole=whole_prices)
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
    cut -= first  # results count from the first bar of the run
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
    return reason in (RUIN, END) or (execution.fill == "close" and reason in (SIGNAL, REVERSAL))
