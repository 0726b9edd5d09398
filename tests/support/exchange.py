"""An exchange for tests: speaks the public kline and funding protocol of Bybit v5 and Binance, and misbehaves by a seeded plan.

It stands behind ccxt's proxy URL, so that the real ccxt code asks for `<server>/https://api.bybit.com/v5/market/kline?...`.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from threading import Thread
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
from aiohttp import web

MINUTE = 60_000
BYBIT_INTERVALS = {"1": 1, "5": 5, "60": 60, "D": 1440}
BINANCE_INTERVALS = {"1m": 1, "5m": 5, "1h": 60, "1d": 1440}
Answer = list[Any] | dict[str, Any]


@dataclass
class Faults:
    """What goes wrong, each as the share of answers that it befalls; nothing befalls one candle or question for ever."""

    seed: int = 0
    too_many: float = 0.0  # 429 with Retry-After
    server_error: float = 0.0
    truncated: float = 0.0  # the connection ends within the body
    half_json: float = 0.0  # a whole answer of half the text
    reset: float = 0.0
    empty: float = 0.0
    duplicated: float = 0.0
    missing: float = 0.0
    disorder: float = 0.0
    changing: float = 0.0  # the last candle comes as it was before its end
    retry_after_s: int = 1
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._in_a_row = 0
        self._befallen: Counter[tuple[str, int]] = Counter()

    @classmethod
    def all(cls, seed: int, share: float = 0.05, *, too_many: float = 0.01) -> Faults:
        names = ("server_error", "truncated", "half_json", "reset", "empty", "duplicated", "missing", "disorder", "changing")
        return cls(seed=seed, too_many=too_many, **dict.fromkeys(names, share))

    def transport(self) -> str | None:
        """What befalls this answer on its way; at most five in a row."""
        for name in ("too_many", "server_error", "truncated", "half_json", "reset"):
            if self._in_a_row < 5 and self._random.random() < getattr(self, name):
                self._in_a_row += 1
                self.met[name] += 1
                return name
        self._in_a_row = 0
        return None

    def candles(self, rows: np.ndarray) -> np.ndarray:
        """Rows (time first) as a careless exchange gives them."""
        if not len(rows) or self._keeps_back("empty", rows):
            return rows[:0]
        if self._random.random() < self.changing and self._befallen["changing", int(rows[-1, 0])] < 1:
            self.met["changing"] += 1
            self._befallen["changing", int(rows[-1, 0])] += 1
            rows = np.concatenate([rows[:-1], unfinished(rows[-1])[None]])
        if len(rows) > 2:
            begin = self._random.randrange(len(rows) - 1)
            some = np.arange(begin, min(begin + self._random.randint(1, 30), len(rows) - 1))
            if self._keeps_back("missing", rows[some]):
                rows = np.delete(rows, some, axis=0)
        if self._random.random() < self.duplicated:
            self.met["duplicated"] += 1
            rows = np.concatenate([rows, rows[self._random.randrange(len(rows)) :][:3]])
        if self._random.random() < self.disorder:
            self.met["disorder"] += 1
            rows = rows[self._random.sample(range(len(rows)), len(rows))]
        return rows

    def _keeps_back(self, name: str, rows: np.ndarray) -> bool:
        """Whether these candles are missing this time; each is so at most twice."""
        keys = [("kept back", int(time)) for time in rows[:, 0]]
        hit = self._random.random() < getattr(self, name) and all(self._befallen[key] < 2 for key in keys)
        if hit:
            self._befallen.update(keys)
            self.met[name] += 1
        return hit


def unfinished(row: np.ndarray) -> np.ndarray:
    """A candle as it was before its end: within what it became, with less volume."""
    time, opened, high, low, close, volume = row
    return np.array([time, opened, (high + max(opened, close)) / 2, (low + min(opened, close)) / 2, (opened + close) / 2, volume / 2])


@dataclass
class Market:
    """True 1-minute candles (rows of time, open, high, low, close, volume) and funding (rows of time, rate) of BTCUSDT."""

    rows: np.ndarray
    funding: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        self._made: dict[int, np.ndarray] = {1: self.rows}

    def candles(self, minutes: int) -> np.ndarray:
        if minutes not in self._made:
            bucket = self.rows[:, 0] // (minutes * MINUTE) * (minutes * MINUTE)
            at = np.flatnonzero(np.append(True, np.diff(bucket) > 0))
            last = np.append(at[1:], len(bucket)) - 1
            high, low = np.maximum.reduceat(self.rows[:, 2], at), np.minimum.reduceat(self.rows[:, 3], at)
            volume = np.add.reduceat(self.rows[:, 5], at)
            self._made[minutes] = np.column_stack([bucket[at], self.rows[at, 1], high, low, self.rows[last, 4], volume])
        return self._made[minutes]


class ExchangeServer:
    """`with ExchangeServer({"spot": market}) as server`: listens at `server.url`; `now_ms` is its clock, which the test may set."""

    def __init__(self, markets: dict[str, Market], *, now_ms: int, faults: Faults | None = None, page: int = 1000) -> None:
        self.markets = markets
        self.now_ms = now_ms
        self.faults = faults or Faults()
        self.page = page
        self.asked: Counter[str] = Counter()
        self.impatient = 0
        self.on_candles: Any = None
        self._closed_until = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="exchange")

    def __enter__(self) -> ExchangeServer:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> str:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        url = urlsplit(unquote(request.raw_path.lstrip("/")))
        self.asked[url.path] += 1
        if time.monotonic() < self._closed_until:
            self.impatient += 1
        fault = self.faults.transport()
        if fault == "too_many":
            self._closed_until = time.monotonic() + self.faults.retry_after_s - 0.1
            return web.Response(status=429, text='{"msg": "slow down"}', headers={"Retry-After": str(self.faults.retry_after_s)})
        if fault == "server_error":
            return web.Response(status=random.choice((500, 502, 503)), text="<html>bad gateway</html>")
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
        answer = self._route(url.hostname or "", url.path, dict(parse_qsl(url.query)))
        if answer is None:
            return web.Response(status=404, text='{"msg": "no such page"}')
        text = json.dumps(answer)
        if fault == "half_json":
            text = text[: len(text) // 2]
        if fault != "truncated":
            return web.Response(text=text, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(text)), "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(text[: len(text) // 2].encode())
        assert request.transport is not None
        request.transport.close()
        return response

    def _route(self, host: str, path: str, query: dict[str, str]) -> Answer | None:
        if host == "api.bybit.com":
            return self._bybit(path, query)
        kind = {"api.binance.com": "spot", "fapi.binance.com": "linear", "dapi.binance.com": "inverse"}.get(host)
        return self._binance(kind, path.rpartition("/")[2], query) if kind else None

    def _candles(self, kind: str, minutes: int, query: dict[str, str], start: str, end: str) -> np.ndarray:
        rows = self.markets[kind].candles(minutes)
        since = int(query.get(start, 0))
        begin, stop = np.searchsorted(rows[:, 0], [since, min(int(query.get(end, 2**53)), self.now_ms) + 1])
        most = min(int(query["limit"]), self.page)
        begin, stop = (begin, min(stop, begin + most)) if start in query else (max(begin, stop - most), stop)
        rows = rows[begin:stop]
        if len(rows) and rows[-1, 0] + minutes * MINUTE > self.now_ms:
            rows = np.concatenate([rows[:-1], unfinished(rows[-1])[None]])
        if self.on_candles:
            self.on_candles(minutes, since)
        return self.faults.candles(rows) if minutes == 1 else rows

    def _funding(self, kind: str, query: dict[str, str]) -> np.ndarray:
        rows = self.markets[kind].funding
        begin, stop = np.searchsorted(rows[:, 0], [int(query["startTime"]), min(int(query.get("endTime", 2**53)), self.now_ms) + 1])
        return rows[begin : min(stop, begin + int(query["limit"]))]

    def _bybit(self, path: str, query: dict[str, str]) -> Answer | None:
        category = query.get("category", "")
        there = category in self.markets
        if path == "/v5/market/time":
            result: dict[str, Any] = {"timeSecond": str(self.now_ms // 1000), "timeNano": str(self.now_ms * 1_000_000)}
        elif path == "/v5/market/instruments-info":
            result = {"category": category, "list": [_bybit_market(category)] if there and query.get("status") != "PreLaunch" else []}
        elif path == "/v5/market/kline":
            rows = self._candles(category, BYBIT_INTERVALS[query["interval"]], query, "start", "end")[::-1]
            result = {"category": category, "symbol": "BTCUSDT", "list": [[*_texts(row, 6), "0"] for row in rows]}
        elif path == "/v5/market/funding/history":
            rows = self._funding(category, query)[::-1]
            made = [{"symbol": "BTCUSDT", "fundingRate": repr(float(rate)), "fundingRateTimestamp": str(int(at))} for at, rate in rows]
            result = {"category": category, "list": made}
        else:
            return None
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": self.now_ms}

    def _binance(self, kind: str, page: str, query: dict[str, str]) -> Answer | None:
        if page == "time":
            return {"serverTime": self.now_ms}
        if page == "exchangeInfo":
            return {"timezone": "UTC", "serverTime": self.now_ms, "symbols": [_binance_market(kind)] if kind in self.markets else []}
        if page == "klines":
            minutes = BINANCE_INTERVALS[query["interval"]]
            rows = self._candles(kind, minutes, query, "startTime", "endTime")
            return [[int(row[0]), *_texts(row, 6)[1:], int(row[0]) + minutes * MINUTE - 1, "0", 1, "0", "0", "0"] for row in rows]
        if page == "fundingRate":
            rows = self._funding(kind, query)
            return [{"symbol": "BTCUSDT", "fundingRate": repr(float(rate)), "fundingTime": int(at), "markPrice": "1"} for at, rate in rows]
        return None


def _texts(row: np.ndarray, columns: int) -> list[str]:
    return [str(int(row[0])), *(repr(float(value)) for value in row[1:columns])]


def _bybit_market(category: str) -> dict[str, Any]:
    market = {"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading", "priceFilter": {"tickSize": "0.01"}}
    if category == "spot":
        return market | {"marginTrading": "none", "lotSizeFilter": {"basePrecision": "0.000001", "minOrderQty": "0.00004"}}
    perpetual = {"contractType": "LinearPerpetual", "settleCoin": "USDT", "fundingInterval": 480, "deliveryTime": "0"}
    return market | perpetual | {"lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001"}, "leverageFilter": {}}


def _binance_market(kind: str) -> dict[str, Any]:
    filters = [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}, {"filterType": "LOT_SIZE", "stepSize": "0.00001", "minQty": "0.00001"}]
    market = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": "TRADING", "filters": filters}
    if kind == "spot":
        return market | {"isSpotTradingAllowed": True, "permissions": ["SPOT"], "baseAssetPrecision": 8, "quotePrecision": 8}
    perpetual = {"contractType": "PERPETUAL", "marginAsset": "USDT", "pair": "BTCUSDT", "deliveryDate": 4133404800000}
    return market | perpetual | {"pricePrecision": 2, "quantityPrecision": 5}
