"""Comparison of runs: what differs in their requests, their metrics, and their equity curves on one axis of time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from python_core.data import timeframes
from workers.model.datasets import Dataset
from workers.model.runs import Backtest, Run
from workers.runs.lookups import Lookups
from workers.runs.results import Results

MIN_RUNS: Final = 2
MAX_RUNS: Final = 10
MAX_POINTS: Final = 2_000
# Fewer days in common say nothing about a correlation.
MIN_DAYS: Final = 3

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Values = tuple[float | None, ...]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field of the requests that is not the same in all runs."""

    field: Annotated[str, Meta(description="Path of the field in the request.", examples=["strategy.params.fast"])]
    values: Annotated[tuple[Any, ...], Meta(description="Its value in each run, null where it has none.")]


class ComparedEquity(msgspec.Struct, frozen=True, kw_only=True):
    """Equity curves at the same times, each relative to its initial capital."""

    time: Annotated[
        tuple[int, ...], Meta(description="Times, evenly spaced from the first to the last bar of any run, UTC epoch milliseconds.")
    ]
    curves: Annotated[
        tuple[Values, ...],
        Meta(
            description="For each run, the ratio of equity and initial capital at the last close known at each time; null before its first bar and after its last."
        ),
    ]


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Runs side by side; everything about them is in the order of the ids."""

    runs: Annotated[tuple[Run, ...], Meta(description="The runs.")]
    differences: Annotated[tuple[Difference, ...], Meta(description="What is not the same in all requests.")]
    equity: Annotated[ComparedEquity, Meta(description="Their equity curves.")]
    correlation: Annotated[
        tuple[Values, ...],
        Meta(
            description="Correlation, a ratio from -1 to 1, of the daily returns of each run (row) with each other (column), over the UTC days that both have; "
            "null if these are fewer than 3, or one of them doesn't vary."
        ),
    ]


class _Reduced(NamedTuple):
    """What a comparison needs of an equity curve."""

    sampled: Values
    days: Integers
    returns: Floats


async def compare(results: Results, lookups: Lookups, runs: Sequence[Run], *, points: int) -> RunComparison:
    """Compare runs that have succeeded.

    Raises:
        Conflict: a result is missing, or its equity curve can't be computed again.
    """
    datasets = [(await lookups.version(run.dataset_id, run.dataset_version))[0] for run in runs]
    ranges = [_range(dataset, run.request) for dataset, run in zip(datasets, runs, strict=True)]
    axis = np.unique(np.linspace(min(first for first, _ in ranges), max(last for _, last in ranges), points).astype(np.int64))
    reduced = []
    for run, dataset in zip(runs, datasets, strict=True):  # one by one, as a curve may have millions of bars
        time, equity = await results.curve(run)
        relative, length_ms = equity / run.request.execution.initial_capital, timeframes.milliseconds(dataset.timeframe)
        reduced.append(await asyncio.to_thread(_reduce, time, relative, length_ms, axis))
    return RunComparison(
        runs=tuple(runs),
        differences=_differences([run.request for run in runs]),
        equity=ComparedEquity(time=tuple(axis.tolist()), curves=tuple(each.sampled for each in reduced)),
        correlation=tuple(tuple(_correlation(one, other) for other in reduced) for one in reduced),
    )


def _range(dataset: Dataset, request: Backtest) -> tuple[int, int]:
    """Open times of the first and the last bar of a run, as far as they are known without reading its bars."""
    first = dataset.start if request.start is None else max(dataset.start, request.start)
    last = dataset.end if request.end is None else min(dataset.end, request.end - 1)
    return first, last


def _reduce(time: Integers, equity: Floats, timeframe_ms: int, axis: Integers) -> _Reduced:
    at = np.searchsorted(time, axis, side="right") - 1
    known = (at >= 0) & (axis < time[-1] + timeframe_ms)
    sampled = tuple(value if is_known else None for value, is_known in zip(equity[at].tolist(), known.tolist(), strict=True))
    day = time // timeframes.DAY_MS
    ends = np.flatnonzero(np.append(day[1:] != day[:-1], True))
    closing = equity[ends]
    before = np.concatenate(([1.0], closing[:-1]))
    with np.errstate(all="ignore"):
        returns = closing / before - 1.0
    valid = np.isfinite(returns) & (before > 0.0)
    return _Reduced(sampled, day[ends][valid], returns[valid])


def _correlation(one: _Reduced, other: _Reduced) -> float | None:
    _, left, right = np.intersect1d(one.days, other.days, assume_unique=True, return_indices=True)
    if len(left) < MIN_DAYS:
        return None
    x, y = one.returns[left], other.returns[right]
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt(np.dot(x, x) * np.dot(y, y)))
    return min(max(float(np.dot(x, y)) / scale, -1.0), 1.0) if scale > 0.0 else None


def _differences(requests: Sequence[Backtest]) -> tuple[Difference, ...]:
    flat = [dict(_leaves(msgspec.to_builtins(request))) for request in requests]
    fields = dict.fromkeys(field for each in flat for field in each)
    values = {field: tuple(each.get(field) for each in flat) for field in fields}
    return tuple(Difference(field=field, values=each) for field, each in values.items() if any(value != each[0] for value in each))


def _leaves(value: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """The fields inside an object that are no objects themselves, by path."""
    found: list[tuple[str, Any]] = []
    for name, inner in value.items():
        found += _leaves(inner, f"{before}{name}.") if isinstance(inner, dict) and inner else [(before + name, inner)]
    return found
