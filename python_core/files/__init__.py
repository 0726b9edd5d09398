"""Reading market data from files."""
