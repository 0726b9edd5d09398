"""Public market data of an exchange, read through ccxt within its rate limits; failed requests are retried."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import random
import time
from collections.abc import Awaitable
from email.utils import parsedate_to_datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import structlog

from python_core.data import timeframes
from workers.errors import Invalid, NotInstalled, Unavailable
from workers.model.clock import now_ms
from workers.model.datasets import Instrument
from workers.model.selection import MarketKind

T = TypeVar("T")

MAX_TRIES: Final = 10
FIRST_WAIT_S: Final = 0.5
MAX_WAIT_S: Final = 60.0
MAX_RETRY_AFTER_S: Final = 300.0
MARKETS_FRESH_S: Final = 3600.0
FUNDING_ROWS: Final = 100
_log = structlog.stdlib.get_logger(__name__)


def check_exchange(name: str) -> None:
    """Check that ccxt is installed and has the exchange, without importing it, which takes a second.

    Raises:
        NotInstalled: ccxt is not installed.
        Invalid: ccxt does not have this exchange.
    """
    spec = find_spec("ccxt")
    if spec is None or spec.origin is None:
        hint = "run `make .venv/exchanges`, or `pip install '.[service,exchanges]'`, in the checkout"
        raise NotInstalled("ccxt is not installed", where="exchange", hint=hint)
    names = {path.stem for path in (Path(spec.origin).parent / "async_support").glob("[a-z0-9]*.py")}
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, 3, 0.7)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "use the name of an exchange in ccxt, such as binance, bybit, kraken or okx"
        )
        raise Invalid(f"unknown exchange {name!r:.60}", where="exchange", hint=hint, code="unknown_exchange")


class Exchanges:
    """The exchanges that a worker process reads from. Its jobs share one client for each, with its markets and its rate limit."""

    def __init__(self, proxy_url: str = "") -> None:
        self._proxy_url = proxy_url
        self._open: dict[str, Exchange] = {}

    async def get(self, name: str) -> Exchange:
        """An exchange with its markets loaded.

        Raises:
            Unavailable: the exchange does not respond.
        """
        check_exchange(name)
        ccxt = await asyncio.to_thread(import_module, "ccxt.async_support")
        if name not in self._open:
            self._open[name] = Exchange(ccxt, name, self._proxy_url)
        await self._open[name].load()
        return self._open[name]

    async def close(self) -> None:
        for exchange in self._open.values():
            await exchange.close()
        self._open.clear()


class Exchange:
    """One exchange. Failed requests are retried after the delay in Retry-After, or else after a random one that doubles each time.

    Raises, in every method that sends a request:
        Unavailable: all retries failed.
        Invalid: the exchange refuses the request.
    """

    def __init__(self, ccxt: Any, name: str, proxy_url: str) -> None:
        self.name = name
        self._errors = ccxt
        self._client = _retrying_client(ccxt, name)({"enableRateLimit": True, "proxyUrl": proxy_url or None})
        # Futures and options are many and not used here.
        options = self._client.options.get("fetchMarkets")
        if isinstance(options, dict) and "types" in options:
            options["types"] = [kind for kind in options["types"] if kind not in ("future", "option")]
        self._loading = asyncio.Lock()
        self._loaded_at = -MARKETS_FRESH_S
        self._clock_ms = 0

    async def load(self) -> None:
        """Read its clock, and its markets unless they were read recently."""
        async with self._loading:
            if time.monotonic() - self._loaded_at >= MARKETS_FRESH_S:
                await self._request(self._client.load_markets(reload=True))
                self._loaded_at = time.monotonic()
            if self._client.has["fetchTime"] is True:
                self._clock_ms = int(await self._request(self._client.fetch_time())) - now_ms()

    async def close(self) -> None:
        self._client.is_closing = True
        await self._client.close()

    def now_ms(self) -> int:
        """The exchange's time."""
        return now_ms() + self._clock_ms

    def market(self, symbol: str, kind: MarketKind) -> dict[str, Any]:
        """The market of a symbol in the notation of ccxt (BTC/USDT:USDT) or of the exchange (BTCUSDT), in upper or lower case.

        Raises:
            Invalid: there is none, or the exchange has no candles.
        """
        if self._client.has["fetchOHLCV"] is not True:
            raise Invalid(f"{self.name} has no candles", where="exchange", hint="use another exchange", code="unknown_exchange")
        markets = [market for market in self._client.markets.values() if _kind(market) == kind]
        normalized = _normalized(symbol)
        matches = [market for market in markets if symbol in (market["symbol"], market["id"])]
        matches = matches or [market for market in markets if normalized in (_normalized(market["symbol"]), _normalized(market["id"]))]
        if matches:
            return max(matches, key=lambda market: market.get("active") is not False)
        near = difflib.get_close_matches(symbol.upper(), [market["symbol"] for market in markets], 3, 0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "use a symbol such as BTC/USDT, and its kind"
        raise Invalid(f"{self.name} has no {kind} market {symbol!r:.60}", where="symbol", hint=hint, code="unknown_symbol")

    def instrument(self, market: dict[str, Any], kind: MarketKind) -> Instrument:
        """The instrument of a market."""
        sizes = []
        for name in ("price", "amount"):
            value = (market.get("precision") or {}).get(name)
            if value is not None and self._client.precisionMode != self._errors.TICK_SIZE:
                value = 10.0**-value
            sizes.append(value if value and value > 0 else None)
        return Instrument(symbol=market["symbol"], exchange=self.name, kind=kind, tick_size=sizes[0], lot_size=sizes[1])

    def check_timeframe(self, timeframe: str) -> None:
        offered = self._client.timeframes or {}
        if timeframe not in offered:
            known = " ".join(name for name in offered if name in timeframes.MILLISECONDS)
            raise Invalid(f"{self.name} has no {timeframe} candles", where="timeframe", hint=f"use one of {known}")

    def has_daily_candles(self) -> bool:
        return "1d" in (self._client.timeframes or {})

    def page_bars(self, market: dict[str, Any]) -> int:
        """The number of candles in one response."""
        return int(self._client.feature_value(market["symbol"], "fetchOHLCV", "limit", 500) or 500)

    async def candles(self, market: dict[str, Any], timeframe: str, since_ms: int) -> np.ndarray:
        """Candles from a time on, as sent by the exchange: rows of time, open, high, low, close, volume; NaN where a value is missing."""
        limit = self.page_bars(market)
        rows = await self._request(self._client.fetch_ohlcv(market["symbol"], timeframe, since=since_ms, limit=limit))
        return np.array([row[:6] for row in rows], np.float64).reshape(-1, 6)

    async def funding(self, market: dict[str, Any], since_ms: int) -> np.ndarray:
        """Funding rates from a time on, as sent by the exchange: rows of time and rate, a fraction."""
        if self._client.has["fetchFundingRateHistory"] is not True:
            raise Invalid(f"{self.name} has no funding rates", where="funding", hint="leave funding out")
        rates = await self._request(self._client.fetch_funding_rate_history(market["symbol"], since=since_ms, limit=FUNDING_ROWS))
        return np.array([(row["timestamp"], row["fundingRate"]) for row in rates], np.float64).reshape(-1, 2)

    async def _request(self, request: Awaitable[T]) -> T:
        try:
            return await request
        except self._errors.NetworkError as error:
            hint = "try again later"
            raise Unavailable(f"{self.name} does not respond: {error!s:.300}", where="exchange", hint=hint, code="exchange_down") from error
        except self._errors.BaseError as error:
            hint = "see the reason given by the exchange"
            raise Invalid(
                f"{self.name} refuses the request: {error!s:.300}", where="exchange", hint=hint, code="exchange_refuses"
            ) from error


def _retrying_client(ccxt: Any, name: str) -> Any:
    """A ccxt exchange class that retries failed requests. A truncated response counts as failed; ccxt would take it for empty or refused."""

    class RetryingClient(getattr(ccxt, name)):  # type: ignore[misc]  # ccxt is not typed
        # ccxt requests several markets at once. If one fails, the others continue and would reopen the connection.
        is_closing = False

        async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            for number in range(1, MAX_TRIES + 1):
                try:
                    return await self._fetch_once(url, method, headers, body)
                except ccxt.NetworkError as error:
                    if number == MAX_TRIES or self.is_closing:
                        raise
                    wait_s = min(FIRST_WAIT_S * 2 ** (number - 1), MAX_WAIT_S) * random.uniform(0.5, 1)
                    wait_s += getattr(error, "retry_after_s", 0.0)
                    _log.info(
                        "request failed; trying again",
                        exchange=name,
                        reason=f"{type(error).__name__}: {error!s:.120}",
                        in_s=round(wait_s, 2),
                    )
                    await asyncio.sleep(wait_s)
            raise AssertionError("unreachable")

        async def _fetch_once(self, url: str, method: str, headers: Any, body: Any) -> Any:
            if self.is_closing:
                raise ccxt.NetworkError("closed")
            try:
                response = await super().fetch(url, method, headers, body)
            except ccxt.BaseError as error:
                if error.__cause__ is None:
                    raise
                # The text may contain the address and the password of a proxy.
                raise ccxt.NetworkError(f"the connection failed: {type(error.__cause__).__name__}") from error
            if not isinstance(response, dict | list):
                raise ccxt.NetworkError("the response is not JSON")
            return response

        def on_rest_response(self, code: int, reason: str, url: str, method: str, response_headers: Any, *rest: Any) -> Any:
            if code in (408, 418, 429) or code >= 500:
                error = ccxt.ExchangeNotAvailable(f"{code} {reason}")
                error.retry_after_s = _retry_after_s(response_headers)
                raise error
            return super().on_rest_response(code, reason, url, method, response_headers, *rest)

    return RetryingClient


def _retry_after_s(headers: dict[str, str]) -> float:
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    with contextlib.suppress(ValueError):
        wait_s = float(text) if text.replace(".", "", 1).isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)
    return 0.0


def _kind(market: dict[str, Any]) -> MarketKind | None:
    if market.get("spot"):
        return "spot"
    if not market.get("swap"):
        return None
    return "linear" if market.get("linear") else "inverse" if market.get("inverse") else None


def _normalized(symbol: str) -> str:
    """A symbol without separators and settlement currency, in upper case."""
    return "".join(letter for letter in symbol.partition(":")[0].upper() if letter.isalnum())
