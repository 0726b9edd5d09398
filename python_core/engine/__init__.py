"""One backtest: signals, simulation and result, in Rust or in Python."""
