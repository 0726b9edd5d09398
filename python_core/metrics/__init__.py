"""Metrics of a run: definitions, and the reference that computes them."""

from python_core.metrics.definitions import COUNTS, NAMES, RUN_NAMES, TRADE_NAMES, Metrics, TradeMetrics
from python_core.metrics.monthly import MonthlyReturn

__all__ = ["COUNTS", "NAMES", "RUN_NAMES", "TRADE_NAMES", "Metrics", "MonthlyReturn", "TradeMetrics"]
