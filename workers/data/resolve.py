"""Which dataset a request means, in which version, and what its bars' fingerprint is."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from python_core.data import timeframes
from workers.data import catalog
from workers.data.bars_cache import BarsCache
from workers.data.datasets import as_client_error
from workers.db.database import Database
from workers.db.tables import DatasetRow
from workers.errors import Conflict, Invalid, NotFound
from workers.model.datasets import Dataset
from workers.model.selection import MARKET, Selection

# So many datasets are named in an error.
_TOLD: Final = 5
_SETTLED: Final = re.compile(r"(.+/.+):\w+")


class _Entry(NamedTuple):
    """What is looked at of each dataset."""

    id: str
    name: str
    symbol: str
    exchange: str
    kind: str
    timeframe: str


class ResolvedDataset(msgspec.Struct, frozen=True):
    """A version of a dataset, and the fingerprint of those of its bars that were asked for."""

    dataset: Dataset
    fingerprint: str


async def look_up(database: Database, bars: BarsCache, selection: Selection) -> ResolvedDataset:
    """What a selection means now. Bars of a range are looked at, once, to reckon their fingerprint.

    Raises:
        NotFound: there is no such dataset.
        Conflict: a market has several.
        Invalid: the dataset is of inverse contracts, or none of its bars is in the range.
    """
    async with database.read() as session:
        reference = selection.dataset or await _of_market(session, selection)
        dataset = await catalog.find(session, reference)
        if dataset.kind == "inverse":
            what = "inverse contracts gain and lose in the coin itself, which the engines don't reckon"
            raise Invalid(what, where="dataset", hint="use the spot or linear market", code="unsupported_kind")
        if (known := bars.fingerprint(dataset, selection)) is not None:
            return ResolvedDataset(dataset, known)
        of = await catalog.parts(session, dataset)
    with as_client_error():
        return ResolvedDataset(dataset, await asyncio.to_thread(lambda: bars.selected(dataset, of, selection).fingerprint))


async def _of_market(session: AsyncSession, wanted: Selection) -> str:
    """The id of the one dataset of a market in a timeframe."""
    columns = [getattr(DatasetRow, name) for name in _Entry._fields]
    rows = [_Entry(*row) for row in await session.execute(sa.select(*columns).order_by(DatasetRow.name))]
    symbol, exchange = _plain(cast(str, wanted.symbol)), (wanted.exchange or "").casefold()
    of_symbol = [row for row in rows if symbol in _symbols(row.symbol)]
    markets = [row for row in of_symbol if exchange in ("", row.exchange.casefold()) and wanted.kind in (None, row.kind)]
    found = [row for row in markets if row.timeframe == wanted.timeframe]
    what = " ".join(filter(None, [wanted.symbol, wanted.timeframe, wanted.kind, wanted.exchange and f"of {wanted.exchange}"]))
    if len(found) > 1:
        raise Conflict(
            f"{len(found):,} datasets are {what}: {_list(found)}", where="symbol", hint="name exchange, kind or dataset", code="ambiguous"
        )
    if not found:
        raise NotFound(f"there is no dataset of {what}", where="symbol", hint=_hint(wanted, markets or of_symbol, rows))
    return found[0].id


def _hint(wanted: Selection, near: Sequence[_Entry], rows: Sequence[_Entry]) -> str:
    """What there is instead."""
    length = timeframes.milliseconds(cast(str, wanted.timeframe))
    finer = [row for row in near if length % timeframes.milliseconds(row.timeframe) == 0 and row.timeframe != wanted.timeframe]
    if finer:
        best = max(finer, key=lambda row: timeframes.milliseconds(row.timeframe))
        return (
            f"{best.name!r} has its {best.timeframe} bars: name that dataset and give the strategy the timeframe {wanted.timeframe}, "
            f"or export it in {wanted.timeframe} and import that; there is {_list(near)}"
        )
    if not near:
        symbols = {row.symbol.casefold(): row.symbol for row in rows if row.symbol}
        close = [symbols[name] for name in difflib.get_close_matches(cast(str, wanted.symbol).casefold(), symbols, _TOLD, 0.5)]
        near = [row for row in rows if row.symbol in close]
    return f"there is {_list(near)}" if near else "upload it, or use one of the datasets there are"


def _list(rows: Sequence[_Entry]) -> str:
    texts = [f"{row.name!r} ({' '.join(filter(None, [row.symbol, row.timeframe, row.kind, row.exchange]))})" for row in rows[:_TOLD]]
    return ", ".join(texts) + (f" and {len(rows) - _TOLD:,} more" if len(rows) > _TOLD else "")


def _symbols(symbol: str) -> set[str]:
    """What a dataset's symbol answers to: ccxt's name of a perpetual, BTC/USDT:USDT, also to BTC/USDT."""
    settled = _SETTLED.fullmatch(symbol)
    return {_plain(symbol), _plain(settled[1] if settled else symbol)}


def _plain(symbol: str) -> str:
    """A symbol without case and separators."""
    return "".join(letter for letter in symbol.casefold() if letter.isalnum()) or symbol


def resolved(dataset: Dataset) -> dict[str, str | None]:
    """How a selection names this version of a dataset."""
    return dict.fromkeys(MARKET) | {"dataset": dataset.reference}
