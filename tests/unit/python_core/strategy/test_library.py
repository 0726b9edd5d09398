"""The library: every strategy runs on every file of market data, with the same bits in both engines."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

import python_core as bt
from python_core.strategy import library

NAMES = (
    "adabtc-5m",
    "ethbtc-5m",
    "eurusd-1h",
    "goog-1d",
    "ltcbtc-5m",
    "unittest-btc-1m",
    "xmrbtc-5m",
    "xrpusdt-perp-1h",
    "xrpusdt-perp-5m",
)
FILES = tuple(f"{name}.parquet" for name in NAMES)


@cache
def read(path: Path) -> bt.Bars:
    return bt.read_bars(path)


@pytest.mark.parametrize("name", library.names())
def test_a_recipe_describes_itself(name: str) -> None:
    recipe = library.load(name)
    assert recipe.name == name
    for text in (recipe.title, recipe.idea, recipe.source, recipe.strategy.explain()):
        assert len(text) > 10
    on_hours = msgspec.structs.replace(recipe.strategy, timeframe=recipe.strategy.timeframe or "1h")
    assert on_hours.warm_up_bars < 1_000
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=library.LibraryStrategy) == recipe


@pytest.mark.parametrize("name", library.names())
def test_a_recipe_trades_on_synthetic_bars_and_can_be_searched(name: str) -> None:
    recipe = library.load(name)
    bars = bt.synthetic(5_000, timeframe="1h")
    assert len(bt.backtest(bars, recipe.strategy, recipe.execution).trades) > 3
    ranges = {key: param for key, param in recipe.strategy.params.items() if isinstance(param, bt.Param)}
    assert ranges
    grid = {}
    for key, param in ranges.items():
        values = param.search_values()
        assert values is not None
        assert recipe.strategy.values[key] in values
        grid[key] = [float(recipe.strategy.values[key]), float(values[0]), float(values[-1])]
    table = bt.sweep(bars[:500], recipe.strategy, grid, recipe.execution, objective="final_equity")
    assert np.isfinite(table.column("final_equity")).all()


BOTH_SIDES = tuple(recipe.name for recipe in library.load_all() if recipe.strategy.entry_long and recipe.strategy.entry_short)


def with_tiny_size(execution: bt.Execution) -> bt.Execution:
    """At this size and without adds, only levels on the wrong side can reject an entry."""
    return msgspec.structs.replace(execution, sizing="fixed_quantity", size=1e-6, pyramiding=1)


@pytest.mark.parametrize("name", BOTH_SIDES)
def test_stops_and_targets_lie_on_their_side_for_long_and_short(name: str, market_data: Path) -> None:
    recipe = library.load(name)
    for level in ("stop_loss", "take_profit", "entry_limit", "entry_stop"):
        assert not isinstance(getattr(recipe.execution, level), str), f"{level}: one price can't serve both sides"
    execution, synthetic = with_tiny_size(recipe.execution), bt.synthetic(5_000, timeframe="1h")
    assert {trade.side for trade in bt.backtest(synthetic, recipe.strategy, execution).trades} == {"long", "short"}
    for bars in (synthetic, *(read(market_data / file) for file in FILES)):
        assert bt.backtest(bars, recipe.strategy, execution).rejected_orders == 0


def test_one_price_for_both_sides_rejects_the_entries_of_one() -> None:
    strategy, bars = library.load("sma-cross").strategy, bt.synthetic(5_000, timeframe="1h")
    one_price = bt.backtest(bars, strategy, with_tiny_size(bt.Execution(stop_loss="low * 0.9")))
    assert one_price.rejected_orders > 10
    assert {trade.side for trade in one_price.trades} == {"long"}
    each_side = bt.Execution(stop_loss={"long": "low * 0.9", "short": "high * 1.1"})
    assert bt.backtest(bars, strategy, with_tiny_size(each_side)).rejected_orders == 0


@pytest.mark.skipif(bt.engine != "rust", reason=f"there is one engine to compare: {bt.engine_reason}")
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", library.names())
def test_a_recipe_gives_the_same_bits_in_both_engines(name: str, file: str, market_data: Path) -> None:
    bars, recipe = read(market_data / file), library.load(name)
    rust = bt.backtest(bars, recipe.strategy, recipe.execution, engine="rust")
    python = bt.backtest(bars, recipe.strategy, recipe.execution, engine="python")
    assert rust.digest == python.digest
    assert rust.fingerprint == python.fingerprint


def test_every_recipe_trades_on_some_real_market(market_data: Path) -> None:
    assert {path.name for path in market_data.glob("*.parquet") if "funding" not in path.name} == set(FILES)
    idle = set(library.names())
    for file in FILES:
        bars = read(market_data / file)
        idle -= {name for name in idle if len(bt.backtest(bars, library.load(name).strategy, library.load(name).execution).trades)}
    assert not idle


def test_an_unknown_recipe_suggests_the_nearest_name() -> None:
    with pytest.raises(bt.StrategyError, match=r"library: the library has no strategy 'sma-kross'; did you mean 'sma-cross'\?"):
        library.load("sma-kross")
    with pytest.raises(bt.StrategyError, match="it has bollinger-breakout, bollinger-reversion, "):
        library.load("../../etc/passwd")


def test_the_library_is_listed_by_name() -> None:
    assert [recipe.name for recipe in library.load_all()] == sorted(library.names())
