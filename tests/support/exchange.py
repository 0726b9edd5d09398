"""A simulated exchange: serves the public candles and funding rates of Bybit v5 and Binance, with seeded faults.

ccxt reaches it through its proxy URL, so its real code requests `<server>/https://api.bybit.com/v5/market/kline?...`.
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

from python_core.data.timeframes import MONTH_MS, bar_end, bucket_start

MINUTE = 60_000
MONTH = MONTH_MS // MINUTE  # stands for calendar months
BYBIT_INTERVALS = {"1": 1, "5": 5, "60": 60, "D": 1440, "M": MONTH}
BINANCE_INTERVALS = {"1m": 1, "5m": 5, "1h": 60, "1d": 1440}
Payload = list[Any] | dict[str, Any]


@dataclass
class Faults:
    """The faults, each with its probability per response. No candle or request fails forever."""

    seed: int = 0
    rate_limited: float = 0.0  # 429 with Retry-After
    server_error: float = 0.0
    truncated: float = 0.0  # the connection closes in the middle of the body
    invalid_json: float = 0.0  # a complete response with half of the text
    reset: float = 0.0
    empty: float = 0.0
    duplicated: float = 0.0
    missing: float = 0.0
    unordered: float = 0.0
    unfinished: float = 0.0  # the last candle is still open
    retry_after_s: int = 1
    injected: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._consecutive = 0
        self._hits: Counter[tuple[str, int]] = Counter()

    @classmethod
    def all(cls, seed: int, share: float = 0.05, *, rate_limited: float = 0.01) -> Faults:
        names = ("server_error", "truncated", "invalid_json", "reset", "empty", "duplicated", "missing", "unordered", "unfinished")
        return cls(seed=seed, rate_limited=rate_limited, **dict.fromkeys(names, share))

    def transport_fault(self) -> str | None:
        """A fault of the connection or the HTTP response, if any; at most five in a row."""
        for name in ("rate_limited", "server_error", "truncated", "invalid_json", "reset"):
            if self._consecutive < 5 and self._random.random() < getattr(self, name):
                self._consecutive += 1
                self.injected[name] += 1
                return name
        self._consecutive = 0
        return None

    def candles(self, rows: np.ndarray) -> np.ndarray:
        """The rows (time first) with faults."""
        if not len(rows) or self._withhold("empty", rows):
            return rows[:0]
        if self._random.random() < self.unfinished and self._hits["unfinished", int(rows[-1, 0])] < 1:
            self.injected["unfinished"] += 1
            self._hits["unfinished", int(rows[-1, 0])] += 1
            rows = np.concatenate([rows[:-1], unfinished(rows[-1])[None]])
        if len(rows) > 2:
            begin = self._random.randrange(len(rows) - 1)
            some = np.arange(begin, min(begin + self._random.randint(1, 30), len(rows) - 1))
            if self._withhold("missing", rows[some]):
                rows = np.delete(rows, some, axis=0)
        if self._random.random() < self.duplicated:
            self.injected["duplicated"] += 1
            rows = np.concatenate([rows, rows[self._random.randrange(len(rows)) :][:3]])
        if self._random.random() < self.unordered:
            self.injected["unordered"] += 1
            rows = rows[self._random.sample(range(len(rows)), len(rows))]
        return rows

    def _withhold(self, name: str, rows: np.ndarray) -> bool:
        """Whether to leave these candles out; each is left out at most twice."""
        keys = [("withheld", int(time)) for time in rows[:, 0]]
        hit = self._random.random() < getattr(self, name) and all(self._hits[key] < 2 for key in keys)
        if hit:
            self._hits.update(keys)
            self.injected[name] += 1
        return hit


def unfinished(row: np.ndarray) -> np.ndarray:
    """A candle before its close: within the range of the final one, with less volume."""
    time, opened, high, low, close, volume = row
    return np.array([time, opened, (high + max(opened, close)) / 2, (low + min(opened, close)) / 2, (opened + close) / 2, volume / 2])


@dataclass
class Market:
    """True 1-minute candles (rows of time, open, high, low, close, volume) and funding (rows of time, rate) of BTCUSDT.

    Candles of an hour do, too, if only longer ones are requested.
    """

    rows: np.ndarray
    funding: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def __post_init__(self) -> None:
        self._resampled: dict[int, np.ndarray] = {1: self.rows}

    def candles(self, minutes: int) -> np.ndarray:
        if minutes not in self._resampled:
            bucket = bucket_start(self.rows[:, 0], minutes * MINUTE)
            at = np.flatnonzero(np.append(True, np.diff(bucket) > 0))
            last = np.append(at[1:], len(bucket)) - 1
            high, low = np.maximum.reduceat(self.rows[:, 2], at), np.minimum.reduceat(self.rows[:, 3], at)
            volume = np.add.reduceat(self.rows[:, 5], at)
            self._resampled[minutes] = np.column_stack([bucket[at], self.rows[at, 1], high, low, self.rows[last, 4], volume])
        return self._resampled[minutes]


class ExchangeServer:
    """`with ExchangeServer({"spot": market}) as server`: it listens at `server.url`; tests may change its clock, `now_ms`."""

    def __init__(self, markets: dict[str, Market], *, now_ms: int, faults: Faults | None = None, page_size: int = 1000) -> None:
        self.markets = markets
        self.now_ms = now_ms
        self.faults = faults or Faults()
        self.page_size = page_size
        self.requests: Counter[str] = Counter()
        self.early_requests = 0
        self.on_candles: Any = None
        self._retry_at = 0.0
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
        self._runner = web.ServerRunner(web.Server(self._respond), shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        url = urlsplit(unquote(request.raw_path.lstrip("/")))
        self.requests[url.path] += 1
        if time.monotonic() < self._retry_at:
            self.early_requests += 1
        fault = self.faults.transport_fault()
        if fault == "rate_limited":
            self._retry_at = time.monotonic() + self.faults.retry_after_s - 0.1
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
        if fault == "invalid_json":
            text = text[: len(text) // 2]
        if fault != "truncated":
            return web.Response(text=text, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(text)), "Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(text[: len(text) // 2].encode())
        assert request.transport is not None
        request.transport.close()
        return response

    def _route(self, host: str, path: str, query: dict[str, str]) -> Payload | None:
        if host == "api.bybit.com":
            return self._bybit(path, query)
        kind = {"api.binance.com": "spot", "fapi.binance.com": "linear", "dapi.binance.com": "inverse"}.get(host)
        return self._binance(kind, path.rpartition("/")[2], query) if kind else None

    def _candles(self, kind: str, minutes: int, query: dict[str, str], start: str, end: str) -> np.ndarray:
        rows = self.markets[kind].candles(minutes)
        since = int(query.get(start, 0))
        begin, stop = np.searchsorted(rows[:, 0], [since, min(int(query.get(end, 2**53)), self.now_ms) + 1])
        limit = min(int(query["limit"]), self.page_size)
        begin, stop = (begin, min(stop, begin + limit)) if start in query else (max(begin, stop - limit), stop)
        rows = rows[begin:stop]
        if len(rows) and bar_end(rows[-1:, 0], minutes * MINUTE)[0] > self.now_ms:
            rows = np.concatenate([rows[:-1], unfinished(rows[-1])[None]])
        if self.on_candles:
            self.on_candles(minutes, since)
        return self.faults.candles(rows) if minutes == 1 else rows

    def _funding(self, kind: str, query: dict[str, str]) -> np.ndarray:
        rows = self.markets[kind].funding
        begin, stop = np.searchsorted(rows[:, 0], [int(query["startTime"]), min(int(query.get("endTime", 2**53)), self.now_ms) + 1])
        return rows[begin : min(stop, begin + int(query["limit"]))]

    def _bybit(self, path: str, query: dict[str, str]) -> Payload | None:
        category = query.get("category", "")
        there = category in self.markets
        if path == "/v5/market/time":
            result: dict[str, Any] = {"timeSecond": str(self.now_ms // 1000), "timeNano": str(self.now_ms * 1_000_000)}
        elif path == "/v5/market/instruments-info":
            result = {"category": category, "list": [_bybit_market(category)] if there and query.get("status") != "PreLaunch" else []}
        elif path == "/v5/market/kline":
            rows = self._candles(category, BYBIT_INTERVALS[query["interval"]], query, "start", "end")[::-1]
            result = {"category": category, "symbol": "BTCUSDT", "list": [[*_strings(row, 6), "0"] for row in rows]}
        elif path == "/v5/market/funding/history":
            rows = self._funding(category, query)[::-1]
            made = [{"symbol": "BTCUSDT", "fundingRate": repr(float(rate)), "fundingRateTimestamp": str(int(at))} for at, rate in rows]
            result = {"category": category, "list": made}
        else:
            return None
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": self.now_ms}

    def _binance(self, kind: str, page: str, query: dict[str, str]) -> Payload | None:
        if page == "time":
            return {"serverTime": self.now_ms}
        if page == "exchangeInfo":
            return {"timezone": "UTC", "serverTime": self.now_ms, "symbols": [_binance_market(kind)] if kind in self.markets else []}
        if page == "klines":
            minutes = BINANCE_INTERVALS[query["interval"]]
            rows = self._candles(kind, minutes, query, "startTime", "endTime")
            return [[int(row[0]), *_strings(row, 6)[1:], int(row[0]) + minutes * MINUTE - 1, "0", 1, "0", "0", "0"] for row in rows]
        if page == "fundingRate":
            rows = self._funding(kind, query)
            return [{"symbol": "BTCUSDT", "fundingRate": repr(float(rate)), "fundingTime": int(at), "markPrice": "1"} for at, rate in rows]
        return None


def _strings(row: np.ndarray, columns: int) -> list[str]:
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
