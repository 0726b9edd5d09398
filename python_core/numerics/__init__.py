"""Elementary functions and arithmetic with the same bits everywhere."""
