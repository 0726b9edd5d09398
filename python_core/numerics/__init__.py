"""Elementary functions and arithmetic with the same bits on every machine."""
