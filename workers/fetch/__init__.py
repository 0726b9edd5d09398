"""Market data from exchanges: candles and funding rates, fetched once or on a schedule."""
