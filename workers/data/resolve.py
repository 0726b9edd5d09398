"""Resolution of a selection to a version of a dataset and its selected bars."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

import python_core as bt
from python_core.data import timeframes
from python_core.engine import kernel
from python_core.engine.rules import check_rules
from python_core.execution import DEFAULT
from workers.data import catalog
from workers.data.bars_cache import BarsCache
from workers.data.ranges import find_range
from workers.data.run_bars import bar_range
from workers.db.database import Database
from workers.db.tables import DatasetRow
from workers.db.visible import owners_of_names, visible
from workers.errors import Conflict, Invalid, NotFound, as_client_error
from workers.model.callers import Caller
from workers.model.datasets import Dataset
from workers.model.selection import MARKET_FIELDS, Selection

# Datasets listed in an error.
_MAX_LISTED: Final = 5
_PERPETUAL: Final = re.compile(r"(.+/.+):\w+")


class _Candidate(NamedTuple):
    """The columns of a dataset that a market is matched against."""

    id: str
    name: str
    symbol: str
    exchange: str
    kind: str
    timeframe: str
    owner: str


class ResolvedDataset(msgspec.Struct, frozen=True):
    """A version of a dataset, the fingerprint of the selected bars with their warm-up, and the position of the first bar of the run."""

    dataset: Dataset
    fingerprint: str
    first: int


async def find(session: AsyncSession, caller: Caller, selection: Selection) -> Dataset:
    """The dataset that a selection of the caller names now.

    Raises:
        NotFound: there is none.
        Conflict: several datasets match the market.
    """
    return await catalog.get(session, caller, selection.dataset or await _find_market(session, caller, selection))


async def resolve(
    database: Database, bars: BarsCache, dataset: Dataset, selection: Selection, strategy: bt.Strategy, execution: bt.Execution
) -> ResolvedDataset:
    """The bars of a dataset that a run needs. A new range loads the bars once to hash them.

    Raises:
        Invalid: strategy and execution can't run on it, it is of inverse contracts, or it has no bar in the range.
    """
    if dataset.kind == "inverse":
        what = "inverse contracts, settled in the base currency, are not supported"
        raise Invalid(what, where="dataset", hint="use the spot or linear market", code="unsupported_kind")
    check_runnable(strategy, execution, dataset.timeframe)
    wanted = bar_range(selection, strategy, execution, dataset.timeframe)
    if (known := bars.known_range(dataset, wanted)) is not None:
        return ResolvedDataset(dataset, *known)
    async with database.read() as session:
        parts = await catalog.list_parts(session, dataset)
    return ResolvedDataset(dataset, *await find_range(bars, dataset, tuple(parts), wanted))


def count_bars(dataset: Dataset, selection: Selection) -> int:
    """About how many bars of a dataset are selected: all of a range, if it has no gaps."""
    start, end = max(dataset.start, selection.start or 0), dataset.end + 1 if selection.end is None else min(dataset.end + 1, selection.end)
    return min(dataset.rows, max(0, end - start) // timeframes.milliseconds(dataset.timeframe) + 1)


def check_runnable(strategy: bt.Strategy, execution: bt.Execution, timeframe: str) -> None:
    """Check that a strategy can run under these rules, on bars of a timeframe.

    Raises:
        Invalid: it can't; names the field of the request.
    """
    with as_client_error("strategy"):
        kernel.compile_run(strategy, DEFAULT, timeframe)
    with as_client_error("execution"):
        check_rules(execution, strategy)
    with as_client_error():  # what is left are levels, which are named with their field
        kernel.compile_run(strategy, execution, timeframe)


async def _find_market(session: AsyncSession, caller: Caller, selection: Selection) -> str:
    """The id of the only dataset of a market in a timeframe, among those that names of the caller can mean (see `find_named`)."""
    columns = [getattr(DatasetRow, name) for name in _Candidate._fields]
    query = sa.select(*columns).where(DatasetRow.owner.in_(owners_of_names(caller))).order_by(DatasetRow.name)
    rows = [_Candidate(*row) for row in await session.execute(query)]
    symbol, exchange = _normalize(cast(str, selection.symbol)), (selection.exchange or "").casefold()
    same_symbol = [row for row in rows if symbol in _symbols(row.symbol)]
    markets = [row for row in same_symbol if exchange in ("", row.exchange.casefold()) and selection.kind in (None, row.kind)]
    matches = [row for row in markets if row.timeframe == selection.timeframe]
    matches = [row for row in matches if row.owner == caller.owner] or matches
    what = " ".join(
        filter(None, [selection.symbol, selection.timeframe, selection.kind, selection.exchange and f"on {selection.exchange}"])
    )
    if len(matches) > 1:
        raise Conflict(
            f"{len(matches):,} datasets match {what}: {_list(matches)}",
            where="symbol",
            hint="give exchange, kind or dataset",
            code="ambiguous",
        )
    if not matches:
        raise NotFound(f"no dataset matches {what}", where="symbol", hint=_hint(selection, markets or same_symbol, rows))
    return matches[0].id


async def list_of_symbol(session: AsyncSession, caller: Caller, symbol: str) -> list[str]:
    """The ids of the datasets that the caller sees with a symbol; case and separators are ignored."""
    rows = await session.execute(sa.select(DatasetRow.id, DatasetRow.symbol).where(visible(caller, DatasetRow.owner)))
    return [row.id for row in rows if _normalize(symbol) in _symbols(row.symbol)]


def _hint(selection: Selection, near: Sequence[_Candidate], rows: Sequence[_Candidate]) -> str:
    """Suggests datasets that exist."""
    length = timeframes.milliseconds(cast(str, selection.timeframe))
    finer = [
        row for row in near if timeframes.fits(timeframes.milliseconds(row.timeframe), length) and row.timeframe != selection.timeframe
    ]
    if finer:
        best = max(finer, key=lambda row: timeframes.milliseconds(row.timeframe))
        return (
            f"{best.name!r} has {best.timeframe} bars: use that dataset and give the strategy the timeframe {selection.timeframe}, "
            f"or export it in {selection.timeframe} and import the result; available: {_list(near)}"
        )
    if not near:
        symbols = {row.symbol.casefold(): row.symbol for row in rows if row.symbol}
        close = [symbols[name] for name in difflib.get_close_matches(cast(str, selection.symbol).casefold(), symbols, _MAX_LISTED, 0.5)]
        near = [row for row in rows if row.symbol in close]
    return f"available: {_list(near)}" if near else "upload it, or use an existing dataset"


def _list(rows: Sequence[_Candidate]) -> str:
    texts = [f"{row.name!r} ({' '.join(filter(None, [row.symbol, row.timeframe, row.kind, row.exchange]))})" for row in rows[:_MAX_LISTED]]
    return ", ".join(texts) + (f" and {len(rows) - _MAX_LISTED:,} more" if len(rows) > _MAX_LISTED else "")


def _symbols(symbol: str) -> set[str]:
    """The symbols that match a dataset's: the one of a perpetual in ccxt, BTC/USDT:USDT, is matched by BTC/USDT, too."""
    perpetual = _PERPETUAL.fullmatch(symbol)
    return {_normalize(symbol), _normalize(perpetual[1] if perpetual else symbol)}


def _normalize(symbol: str) -> str:
    """A symbol in lower case without separators."""
    return "".join(letter for letter in symbol.casefold() if letter.isalnum()) or symbol


def pinned_to(dataset: Dataset) -> dict[str, str | None]:
    """The fields that make a selection name this version of a dataset."""
    return dict.fromkeys(MARKET_FIELDS) | {"dataset": dataset.reference}
