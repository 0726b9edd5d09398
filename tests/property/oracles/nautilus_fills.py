"""Read bars and orders of runs as JSON, run nautilus_trader's backtest engine, print all fills as JSON; a program of an environment of its own."""

import json
import sys
from decimal import Decimal

from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

SIDES = {1: OrderSide.BUY, -1: OrderSide.SELL}
MS = 1_000_000


class Given(Strategy):
    """Does on each bar what the job says: closes, removes orders, places orders."""

    def __init__(self, instrument, bar_type, job):  # type: ignore[no-untyped-def]
        super().__init__()
        self.instrument, self.bar_type, self.job, self.i, self.fills = instrument, bar_type, job, -1, []
        self.i_of = {time * MS: i for i, time in enumerate(job["bars"][0])}
        self.placed = {}  # by side: the entry that rests and the bar of its signal

    def on_start(self):  # type: ignore[no-untyped-def]
        self.subscribe_bars(self.bar_type)

    def on_bar(self, bar):  # type: ignore[no-untyped-def]
        self.i += 1
        net = float(self.portfolio.net_position(self.instrument.id))
        exits = self.job["exits"][self.i]
        if exits and net:
            close = OrderSide.SELL if net > 0 else OrderSide.BUY
            self.submit_order(self.order_factory.market(self.instrument.id, close, self.instrument.make_qty(abs(net))))
        for side in (1, -1):
            if side in self.placed and (exits or self.i - self.placed[side][1] >= self.job["expires"]):
                self.cancel_order(self.placed.pop(side)[0])
            price = self.job["levels"][str(side)][self.i]
            if price and net * side <= 0:
                if side in self.placed:
                    self.cancel_order(self.placed[side][0])
                make = self.order_factory.limit if self.job["shape"] == "limit" else self.order_factory.stop_market
                quantity = self.instrument.make_qty(self.job["quantity"] + abs(net))  # closes the opposite position, too
                order = make(self.instrument.id, SIDES[side], quantity, self.instrument.make_price(price))
                self.placed[side] = order, self.i
                self.submit_order(order)

    def on_order_filled(self, event):  # type: ignore[no-untyped-def]
        ours = [side for side, (order, _) in self.placed.items() if order.client_order_id == event.client_order_id]
        placed = self.placed[ours[0]][1] if ours else None
        level = self.job["levels"][str(ours[0])][placed] if ours else 0.0
        side = 1 if event.order_side == OrderSide.BUY else -1
        fill = {"bar": self.i_of[event.ts_event], "side": side, "price": float(event.last_px), "level": level, "placed": placed}
        self.fills.append(fill | {"quantity": float(event.last_qty), "fee": float(event.commission)})
        if ours:
            del self.placed[ours[0]]
            for order, _ in self.placed.values():
                self.cancel_order(order)
            self.placed.clear()


def fills(job):  # type: ignore[no-untyped-def]
    digits = job["digits"]
    name = InstrumentId(Symbol("BTCUSDT-PERP"), Venue("TEST"))
    instrument = CryptoPerpetual(
        instrument_id=name,
        raw_symbol=Symbol("BTCUSDT"),
        base_currency=BTC,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=digits,
        price_increment=Price(10**-digits, digits),
        size_precision=0,
        size_increment=Quantity.from_int(1),
        margin_init=Decimal(0),
        margin_maint=Decimal(0),
        maker_fee=Decimal(str(job["maker_fee"])),
        taker_fee=Decimal(str(job["taker_fee"])),
        ts_event=0,
        ts_init=0,
    )
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=name.venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USDT,
        starting_balances=[Money(job["capital"], USDT)],
        reject_stop_orders=False,
        bar_adaptive_high_low_ordering=True,
    )
    engine.add_instrument(instrument)
    bar_type = BarType.from_str(f"{name}-1-MINUTE-LAST-EXTERNAL")
    volume = Quantity(1e9, 0)
    engine.add_data(
        [
            Bar(bar_type, *(Price(value, digits) for value in prices), volume, time * MS, time * MS)
            for time, *prices in zip(*job["bars"], strict=True)
        ]
    )
    strategy = Given(instrument, bar_type, job)
    engine.add_strategy(strategy)
    engine.run()
    engine.dispose()
    return strategy.fills


print(json.dumps([fills(job) for job in json.load(sys.stdin)]))
