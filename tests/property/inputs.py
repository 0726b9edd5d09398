"""Random inputs of runs: prices, signals and rules."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
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
    """open, high, low, close, float64[4, n], around 100, with occasional gaps."""
    close = 100 * np.exp(np.cumsum(rng.standard_normal(n) * 0.01))
    open_ = np.concatenate(([100.0], close[:-1])) * (1 + rng.standard_normal(n) * 0.01 * (rng.random(n) < 0.2))
    high = np.maximum(open_, close) * (1 + np.abs(rng.standard_normal(n)) * 0.005 * (rng.random(n) < 0.8))
    low = np.minimum(open_, close) / (1 + np.abs(rng.standard_normal(n)) * 0.005 * (rng.random(n) < 0.8))
    return np.array([open_, high, low, close])


def ticks(rng: np.random.Generator, n: int) -> np.ndarray:
    """open, high, low, close in whole numbers from 70 to 130, with ties and flat bars."""
    close = np.clip(100 + np.cumsum(rng.integers(-3, 4, n)), 80, 120).astype(float)
    open_ = np.clip(np.concatenate(([100.0], close[:-1])) + rng.integers(-2, 3, n) * (rng.random(n) < 0.2), 80, 120)
    return np.array([open_, np.maximum(open_, close) + rng.integers(0, 5, n), np.minimum(open_, close) - rng.integers(0, 5, n), close])


def history(prices: np.ndarray, *, volume: Any = 1.0, step: int = 60 * MINUTE, **more: Any) -> bt.Bars:
    n = prices.shape[1]
    return bt.Bars(MONDAY + step * np.arange(n), *prices, np.broadcast_to(volume, n).astype(float), timeframe=step // MINUTE, **more)


def split_along_path(prices: np.ndarray) -> np.ndarray:
    """Each bar as three: to the extreme nearer to the open, to the farther one, to the close."""
    open_, high, low, close = prices
    up_first = high - open_ < open_ - low
    first, second = np.where(up_first, high, low), np.where(up_first, low, high)
    points = np.array([open_, first, second, close])
    parts = [np.array([a, np.maximum(a, b), np.minimum(a, b), b]) for a, b in pairwise(points)]
    return np.stack(parts, axis=2).reshape(4, -1)


def random_masks(rng: np.random.Generator, n: int) -> np.ndarray:
    """Four signals, bool[4, n], rare or frequent, for one side or both."""
    return (rng.random((4, n)) < rng.choice([0.02, 0.1, 0.4])) & (rng.random((4, 1)) < 0.8)
