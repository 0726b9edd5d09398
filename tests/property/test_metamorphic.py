"""Runs whose inputs are related have related outcomes, whatever the engine thinks of either: doubled, mirrored, split, prolonged, repriced."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import python_core as bt
from tests.support.cases import CASES

ENGINES = ["python", "rust"] if bt.engine == "rust" else ["python"]
MINUTE, MONDAY = 60_000, 1_704_067_200_000
MONEY = ("gross", "fees", "funding", "net")
NAMES = ("entry_long", "exit_long", "entry_short", "exit_short")

seeds = st.integers(0, 2**32 - 1)
engines = st.sampled_from(ENGINES)
intrabars = st.sampled_from(["pessimistic", "path", "optimistic"])
fills = st.sampled_from(["next_open", "close"])


def share(part: float) -> settings:
    return settings(
        max_examples=max(10, int(CASES * part)),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def walk(rng: np.random.Generator, n: int) -> np.ndarray:
    """open, high, low, close, float64[4, n], around 100, with gaps now and then."""
    close = 100 * np.exp(np.cumsum(rng.standard_normal(n) * 0.01))
    open_ = np.concatenate(([100.0], close[:-1])) * (1 + rng.standard_normal(n) * 0.01 * (rng.random(n) < 0.2))
    high = np.maximum(open_, close) * (1 + np.abs(rng.standard_normal(n)) * 0.005 * (rng.random(n) < 0.8))
    low = np.minimum(open_, close) / (1 + np.abs(rng.standard_normal(n)) * 0.005 * (rng.random(n) < 0.8))
    return np.array([open_, high, low, close])


def ticks(rng: np.random.Generator, n: int) -> np.ndarray:
    """open, high, low, close in whole numbers from 70 to 130, ties and standstills among them."""
    close = np.clip(100 + np.cumsum(rng.integers(-3, 4, n)), 80, 120).astype(float)
    open_ = np.clip(np.concatenate(([100.0], close[:-1])) + rng.integers(-2, 3, n) * (rng.random(n) < 0.2), 80, 120)
    return np.array([open_, np.maximum(open_, close) + rng.integers(0, 5, n), np.minimum(open_, close) - rng.integers(0, 5, n), close])


def history(prices: np.ndarray, *, volume: Any = 1.0, step: int = 60 * MINUTE, **more: Any) -> bt.Bars:
    n = prices.shape[1]
    return bt.Bars(MONDAY + step * np.arange(n), *prices, np.broadcast_to(volume, n).astype(float), timeframe=step // MINUTE, **more)


def random_masks(rng: np.random.Generator, n: int) -> np.ndarray:
    """Four signals, bool[4, n], seldom or often, long and short or only one of them."""
    return (rng.random((4, n)) < rng.choice([0.02, 0.1, 0.4])) & (rng.random((4, 1)) < 0.8)


levels = st.sampled_from([None, None, 0.004, 0.02, bt.Atr(multiple=1.5, period=3)])


@st.composite
def all_rules(draw: st.DrawFn, **fixed: Any) -> dict[str, Any]:
    trailing = draw(levels)
    stop = draw(st.one_of(levels, st.just("low - atr(2)")))
    sizing, size = draw(
        st.sampled_from(
            [("equity_fraction", 0.9), ("equity_fraction", 1.0), ("fixed_quantity", 2.0), ("fixed_notional", 500.0), ("risk", 0.02)]
        )
    )
    rules: dict[str, Any] = {
        "commission": draw(st.sampled_from([0.0, 0.001])),
        "slippage": draw(st.sampled_from([0.0, 0.002])),
        "sizing": sizing,
        "size": size,
        "step": draw(st.sampled_from([0.0, 0.25])),
        "min_notional": draw(st.sampled_from([0.0, 50.0])),
        "leverage": draw(st.sampled_from([1.0, 1.0, 4.0, 40.0])),
        "pyramiding": draw(st.sampled_from([1, 1, 3])),
        "fill": draw(fills),
        "intrabar": draw(intrabars),
        "stop_loss": stop,
        "take_profit": draw(st.one_of(levels, st.just("high + 1 * atr(2)"))),
        "trailing_stop": trailing,
        "trailing_activation": draw(st.sampled_from([None, 0.005])) if trailing else None,
        "break_even_at": draw(st.sampled_from([None, None, 0.005])),
        "max_bars": draw(st.sampled_from([None, None, 1, 5])),
        "partial_exits": draw(st.sampled_from([(), (), ((0.004, 0.5),), ((0.004, 0.5), (0.01, 0.5))])),
        **fixed,
    }
    if rules["sizing"] == "risk" and rules["stop_loss"] is None:
        rules["stop_loss"] = 0.02
    return rules


@share(0.3)
@given(seed=seeds, engine=engines, rules=all_rules())
def test_doubling_prices_and_capital_doubles_money_to_the_last_bit(seed: int, engine: str, rules: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    funding = (MONDAY + 60 * MINUTE * np.arange(0, n, 8), rng.standard_normal(len(range(0, n, 8))) * 0.001) if rng.random() < 0.5 else None
    doubled = {**rules, "capital": 2_000, "min_notional": 2 * rules["min_notional"]}
    if rules["sizing"] == "fixed_notional":
        doubled["size"] = 2 * rules["size"]
    once = bt.simulate(history(prices, funding=funding), bt.Signals(*masks), bt.Execution(**{**rules, "capital": 1_000}), engine=engine)
    twice = bt.simulate(history(2 * prices, funding=funding), bt.Signals(*masks), bt.Execution(**doubled), engine=engine)
    np.testing.assert_array_equal(twice.equity, 2 * once.equity)
    a, b = once.trades.array, twice.trades.array
    for name in (*MONEY, "entry_price", "exit_price"):
        np.testing.assert_array_equal(b[name], 2 * a[name], name)
    for name in ("entry_index", "exit_index", "side", "reason", "quantity", "mae", "mfe"):
        np.testing.assert_array_equal(b[name], a[name], name)
    assert (twice.rejected_orders, twice.ambiguous_bars, twice.ruined) == (once.rejected_orders, once.ambiguous_bars, once.ruined)


@share(0.1)
@given(seed=seeds, engine=engines, rules=all_rules(sizing="equity_fraction", size=1.0, step=0.0))
def test_a_fraction_of_the_equity_does_not_care_for_the_price_of_a_piece(seed: int, engine: str, rules: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    once, halved = (
        bt.simulate(history(factor * prices), bt.Signals(*masks), bt.Execution(**rules), engine=engine) for factor in (1.0, 0.5)
    )
    np.testing.assert_array_equal(halved.equity, once.equity)
    np.testing.assert_array_equal(halved.trades.array["quantity"], 2 * once.trades.array["quantity"])
    np.testing.assert_array_equal(halved.trades.array["net"], once.trades.array["net"])
    assert halved.metrics.sharpe == once.metrics.sharpe


distances = st.sampled_from([None, None, *(bt.Atr(multiple=multiple, period=1) for multiple in (1, 2, 3))])


@share(0.3)
@given(
    seed=seeds,
    engine=engines,
    fill=fills,
    intrabar=intrabars,
    stop=distances,
    target=distances,
    trailing=distances,
    max_bars=st.sampled_from([None, None, 1, 7]),
    pyramiding=st.sampled_from([1, 1, 2]),
)
def test_in_the_mirror_a_short_is_a_long(
    seed: int, engine: str, fill: str, intrabar: str, stop: Any, target: Any, trailing: Any, max_bars: Any, pyramiding: int
) -> None:
    """Prices p become 200 - p, long becomes short. Whole prices, whole distances and no costs keep it exact; at 100 % margin nobody is liquidated."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 300))
    prices, masks = ticks(rng, n), random_masks(rng, n)
    open_, high, low, close = prices
    mirrored = np.array([200 - open_, 200 - low, 200 - high, 200 - close])
    rules = bt.Execution(
        capital=1_000_000,
        commission=0,
        sizing="fixed_quantity",
        size=3,
        fill=fill,  # type: ignore[arg-type]
        intrabar=intrabar,  # type: ignore[arg-type]
        stop_loss=stop,
        take_profit=target,
        trailing_stop=trailing,
        max_bars=max_bars,
        pyramiding=pyramiding,
    )
    long, short = (
        bt.simulate(history(prices), bt.Signals(*masks), rules, engine=engine),
        bt.simulate(history(mirrored), bt.Signals(*masks[[2, 3, 0, 1]]), rules, engine=engine),
    )
    a, b = long.trades.array, short.trades.array
    for name in ("entry_index", "exit_index", "reason", "quantity"):
        np.testing.assert_array_equal(b[name], a[name], name)
    np.testing.assert_array_equal(b["side"], -a["side"])
    for name in ("entry_price", "exit_price"):
        np.testing.assert_allclose(b[name], 200 - a[name], rtol=1e-13)
    np.testing.assert_allclose(b["net"], a["net"], atol=1e-10)
    np.testing.assert_allclose(b["mae"] * b["entry_price"], a["mae"] * a["entry_price"], atol=1e-10)
    np.testing.assert_allclose(b["mfe"] * b["entry_price"], a["mfe"] * a["entry_price"], atol=1e-10)
    np.testing.assert_allclose(short.equity, long.equity, rtol=1e-13)
    assert short.ambiguous_bars == long.ambiguous_bars


def along_the_path(prices: np.ndarray) -> np.ndarray:
    """Each bar as three: to the extreme nearer to the open, to the farther one, to the close."""
    open_, high, low, close = prices
    up_first = high - open_ < open_ - low
    first, second = np.where(up_first, high, low), np.where(up_first, low, high)
    points = np.array([open_, first, second, close])
    parts = [np.array([a, np.maximum(a, b), np.minimum(a, b), b]) for a, b in itertools.pairwise(points)]
    return np.stack(parts, axis=2).reshape(4, -1)


TEXTS = [
    ("close > close[1]", "close < close[1]", "", ""),
    ("crossover(close, sma(close, 4))", "", "crossunder(close, sma(close, 4))", ""),
    ("high > high[1] and low > low[1]", "volume > 2", "rsi(close, 3) < 35", "open < close"),
    ("atr(3) > 1 and close > open", "", "atr(3) > 1 and close < open", ""),
]


@share(0.3)
@given(
    seed=seeds,
    engine=engines,
    texts=st.sampled_from(TEXTS),
    # Trailing and break-even stops go by earlier bars, and finer bars are earlier.
    rules=all_rules(intrabar="path", trailing_stop=None, trailing_activation=None, break_even_at=None),
    with_funding=st.booleans(),
)
def test_bars_split_along_their_path_give_the_same_trades(
    seed: int, engine: str, texts: tuple[str, str, str, str], rules: dict[str, Any], with_funding: bool
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 150))
    prices = walk(rng, n)
    # Where both extremes are as near, the adverse one comes first, which depends on the position.
    assume(not ((prices[1] - prices[0] == prices[0] - prices[2]) & (prices[1] > prices[2])).any())
    volume = rng.integers(0, 5, n)
    funding = (MONDAY + 3 * MINUTE * np.arange(0, n, 5), rng.standard_normal(len(range(0, n, 5))) * 0.001) if with_funding else None
    whole = history(prices, volume=volume, step=3 * MINUTE, funding=funding)
    parts = history(
        along_the_path(prices), volume=np.stack([volume, 0 * volume, 0 * volume], axis=1).reshape(-1), step=MINUTE, funding=funding
    )
    strategy = bt.Strategy(**dict(zip(NAMES, texts, strict=True)), timeframe="3m")
    coarse, fine = (bt.backtest(bars, strategy, bt.Execution(**rules), engine=engine) for bars in (whole, parts))
    if fine.ruined and not coarse.ruined:
        # Equity is looked at on every bar's close, so finer bars may see a ruin that the coarse bar survived.
        return
    a, b = coarse.trades.array, fine.trades.array
    for name in ("side", "reason", "quantity", "entry_price", "exit_price", *MONEY):
        np.testing.assert_array_equal(b[name], a[name], name)
    for name in ("entry_index", "exit_index"):
        np.testing.assert_array_equal(b[name] // 3, a[name], name)
    np.testing.assert_array_equal(fine.equity[2::3], coarse.equity)
    assert fine.ambiguous_bars == 0
    assert fine.ruined == coarse.ruined
    # At the close of the bar that ruins it, a coarse run may still turn down an order.
    assert fine.ruined or fine.rejected_orders == coarse.rejected_orders


@share(0.2)
@given(seed=seeds, engine=engines, rules=all_rules(), more=st.integers(1, 200))
def test_bars_that_stand_still_at_the_end_change_nothing_earlier(seed: int, engine: str, rules: dict[str, Any], more: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    masks[:, -1] = False
    still = np.tile(prices[3, -1], (4, more))
    short = bt.simulate(history(prices), bt.Signals(*masks), bt.Execution(**rules), engine=engine)
    masks = np.concatenate((masks, np.zeros((4, more), dtype=bool)), axis=1)
    long = bt.simulate(history(np.concatenate((prices, still), axis=1)), bt.Signals(*masks), bt.Execution(**rules), engine=engine)
    np.testing.assert_array_equal(long.equity[: n - 1], short.equity[: n - 1])
    ended = len(short.trades) > 0 and short.trades[len(short.trades) - 1].reason == "end"
    settled = short.trades.array[:-1] if ended else short.trades.array
    assert long.trades.array[: len(settled)].tobytes() == settled.tobytes()
    if not ended:
        assert len(long.trades) == len(short.trades)
        assert (long.equity[n - 1 :] == short.equity[-1]).all()
    assert long.rejected_orders == short.rejected_orders


@share(0.3)
@given(seed=seeds, engine=engines, rules=all_rules(), with_funding=st.booleans())
def test_the_books_balance(seed: int, engine: str, rules: dict[str, Any], with_funding: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    funding = (MONDAY + 60 * MINUTE * np.arange(0, n, 8), rng.standard_normal(len(range(0, n, 8))) * 0.001) if with_funding else None
    execution = bt.Execution(**rules)
    bars = history(prices, funding=funding)
    result = bt.simulate(bars, bt.Signals(*masks), execution, engine=engine)
    trades, metrics = result.trades.array, result.metrics
    volume = 1 + np.abs(trades["gross"]).sum() + trades["fees"].sum() + np.abs(trades["funding"]).sum()
    near = {"rel": 1e-11, "abs": 1e-11 * volume}
    assert result.equity[-1] == pytest.approx(execution.capital + trades["net"].sum(), **near)
    np.testing.assert_array_equal(trades["net"], trades["gross"] - trades["fees"] - trades["funding"])
    np.testing.assert_allclose(
        trades["gross"], trades["side"] * trades["quantity"] * (trades["exit_price"] - trades["entry_price"]), rtol=1e-12, atol=0
    )
    assert (trades["fees"] >= 0).all()
    assert metrics.fees_paid == pytest.approx(trades["fees"].sum(), **near)
    assert metrics.funding_paid == pytest.approx(trades["funding"].sum(), **near)
    assert metrics.final_equity == result.equity[-1]
    assert metrics.trades == len(trades) == metrics.long.trades + metrics.short.trades
    if not with_funding:
        assert (trades["funding"] == 0).all()
    # Times go on, and positions never overlap.
    assert (trades["entry_index"] <= trades["exit_index"]).all()
    assert (np.diff(trades["exit_index"]) >= 0).all()
    later = trades["entry_index"][1:] >= trades["exit_index"][:-1]
    same = trades["entry_index"][1:] == trades["entry_index"][:-1]
    assert (later | same).all()
    np.testing.assert_array_equal(trades["entry_time"], bars.time[trades["entry_index"]])
    np.testing.assert_array_equal(trades["exit_time"], bars.time[trades["exit_index"]])
    assert (trades["mae"] <= 0).all() or execution.pyramiding > 1
    assert (trades["mfe"] >= 0).all() or execution.pyramiding > 1
    # A fill lies within its bar, give or take slippage; a liquidation is settled elsewhere.
    usual = trades[trades["reason"] != 8]
    for index, price in (("exit_index", "exit_price"), ("entry_index", "entry_price")):
        if price == "entry_price" and execution.pyramiding > 1:
            continue
        low, high = (bars_column[usual[index]] for bars_column in (bars.low, bars.high))
        assert (usual[price] >= low * (1 - execution.slippage) * (1 - 1e-12)).all()
        assert (usual[price] <= high * (1 + execution.slippage) * (1 + 1e-12)).all()


@share(0.2)
@given(seed=seeds, engine=engines, rules=all_rules(pyramiding=1, partial_exits=()))
def test_equity_can_be_told_from_the_trades_alone(seed: int, engine: str, rules: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    execution = bt.Execution(**rules)
    result = bt.simulate(history(prices), bt.Signals(*masks), execution, engine=engine)
    equity = np.full(n, execution.capital)
    for trade in result.trades.array:
        opened, closed = trade["entry_index"], trade["exit_index"]
        entry_fee = trade["quantity"] * trade["entry_price"] * execution.commission
        open_profit = trade["side"] * trade["quantity"] * (prices[3, opened:closed] - trade["entry_price"]) - entry_fee
        equity[opened:closed] += open_profit
        equity[closed:] += trade["net"]
        # At leverage 1 what is bought and its fee can be paid.
        if execution.leverage == 1:
            before = execution.capital + result.trades.array["net"][result.trades.array["exit_index"] <= opened].sum()
            assert trade["quantity"] * trade["entry_price"] + entry_fee <= before * (1 + 1e-9) + 1e-9 or trade["exit_index"] == opened
    np.testing.assert_allclose(result.equity, equity, rtol=1e-9, atol=1e-9)


@share(0.1)
@given(seed=seeds, engine=engines, fill=fills, more=st.floats(0.0001, 0.01))
def test_dearer_fills_cost_as_much_as_was_traded(seed: int, engine: str, fill: str, more: float) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    prices, masks = walk(rng, n), random_masks(rng, n)
    cheap, dear = (
        bt.simulate(
            history(prices),
            bt.Signals(*masks),
            bt.Execution(capital=1e6, sizing="fixed_quantity", size=1, commission=commission, fill=fill),  # type: ignore[arg-type]
            engine=engine,
        )
        for commission in (0.001, 0.001 + more)
    )
    trades = cheap.trades.array
    traded = (trades["quantity"] * (trades["entry_price"] + trades["exit_price"])).sum()
    assert cheap.equity[-1] - dear.equity[-1] == pytest.approx(more * traded, rel=1e-6, abs=1e-6)
    np.testing.assert_array_equal(cheap.trades.array["gross"], dear.trades.array["gross"])


@share(0.05)
@given(seed=seeds, rules=all_rules())
def test_the_fingerprint_knows_every_input_and_no_spelling(seed: int, rules: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed)
    n = 20
    prices, masks = walk(rng, n), random_masks(rng, n)
    bars, signals, execution = history(prices), bt.Signals(*masks), bt.Execution(**rules)
    known = {bt.fingerprint(bars, signals, execution)}

    def is_new(*inputs: Any) -> None:
        found = bt.fingerprint(*inputs)
        assert found not in known
        known.add(found)

    for name, value in OTHERS.items():
        if name == "stop_loss" or not (name == "trailing_activation" and execution.trailing_stop is None):
            is_new(bars, signals, msgspec.structs.replace(execution, **{name: value}))
    for k in range(4):
        changed = masks.copy()
        changed[k, int(rng.integers(0, n))] ^= True
        is_new(bars, bt.Signals(*changed), execution)
    for column in ("open", "close"):
        values = {name: getattr(bars, name).copy() for name in ("time", "open", "high", "low", "close", "volume")}
        i = int(rng.integers(0, n))
        values[column][i] = np.nextafter(values[column][i], (values["low"][i] + values["high"][i]) / 2)
        if values[column][i] != getattr(bars, column)[i]:
            is_new(bt.Bars(**values), signals, execution)
    values["volume"] = bars.volume + 1
    is_new(bt.Bars(**values), signals, execution)
    is_new(history(prices, funding=([MONDAY], [0.001])), signals, execution)
    is_new(history(prices, funding=([MONDAY], [0.002])), signals, execution)
    is_new(history(prices, mark=(bars.low, bars.high)), signals, execution)
    is_new(history(prices, mark=(bars.low, bars.high + 1)), signals, execution)
    is_new(history(prices, step=30 * MINUTE), signals, execution)
    is_new(bars, bt.Strategy(entry_long="close > open"), execution)
    # Whole numbers and floats, a copy, and another label are the same inputs.
    whole = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in rules.items()}
    same = bt.Bars(**{name: getattr(bars, name).copy() for name in values}, timeframe="60", symbol="OTHER")
    assert bt.fingerprint(same, bt.Signals(*masks.copy()), bt.Execution(**whole)) == bt.fingerprint(bars, signals, execution)


OTHERS: dict[str, Any] = {
    "capital": 12_345,
    "commission": 0.0123,
    "slippage": 0.0123,
    "size": 0.123,
    "step": 0.0123,
    "min_notional": 12.3,
    "leverage": 12.3,
    "maintenance_margin": 0.0123,
    "pyramiding": 12,
    "stop_loss": 0.123,
    "take_profit": 0.123,
    "trailing_stop": 0.123,
    "trailing_activation": 0.123,
    "break_even_at": 0.123,
    "max_bars": 123,
    "partial_exits": ((0.123, 0.123),),
    "calendar": "exchange",
}


def test_the_list_of_other_values_is_whole() -> None:
    assert set(OTHERS) | {"sizing", "fill", "intrabar"} == set(bt.Execution().__struct_fields__)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("sizing", ["equity_fraction", "fixed_notional", "fixed_quantity", "risk"]),
        ("fill", ["next_open", "close"]),
        ("intrabar", ["pessimistic", "path", "optimistic"]),
        (
            "stop_loss",
            [None, 0.1, 0.2, bt.Atr(multiple=2), bt.Atr(multiple=3), bt.Atr(multiple=2, period=15), "low", "low * 0.9", "low * 0.99"],
        ),
        ("take_profit", [None, 0.1, 0.2, bt.Atr(multiple=2), "high", "high * 2"]),
        ("trailing_stop", [None, 0.1, 0.2, bt.Atr(multiple=2), "high - low", "high - close"]),
        ("partial_exits", [(), ((0.1, 0.5),), ((0.1, 0.6),), ((0.2, 0.5),), ((0.1, 0.5), (0.2, 0.5))]),
    ],
)
def test_every_choice_has_a_fingerprint_of_its_own(name: str, choices: list[Any]) -> None:
    bars = history(walk(np.random.default_rng(1), 9))
    signals = bt.Signals(entry_long=bars.close > bars.open)
    base = {"stop_loss": 0.5} if name == "sizing" else {}
    found = [bt.fingerprint(bars, signals, bt.Execution(**{**base, name: choice})) for choice in choices]
    assert len(set(found)) == len(choices)
    spelled = {"low * 0.9": " low*0.90", "high * 2": "(high) * 2.0", "high - low": "high-low"}
    for choice, other in spelled.items():
        if choice in choices:
            assert bt.fingerprint(bars, signals, bt.Execution(**{name: other})) == found[choices.index(choice)]
